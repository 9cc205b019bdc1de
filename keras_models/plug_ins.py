"""What a model can have besides its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_models.layers import BehaviourSequence, EpNet, Lhuc, MissingValue, PpNet


@dataclass(frozen=True, kw_only=True)
class PlugIns:
    """Layers that any backbone works with, and the embedded fields that they read.

    Args:
      missing_values: Fills the gaps in the numbers.
      behaviour_sequence: Makes a vector of the user's history.
      query: Fields that ask the history.
      epnet: Scales the embeddings to the scenario.
      domain: Fields that EPNet's gate reads beside the scenario. It teaches these, where it reads
        all others under a stop-gradient.
      ppnet: Scales what the towers read.
      prior: Fields of the user, the item and the author, for PPNet.
      lhuc: Scales what the towers read, by the user alone; not with `ppnet`.
      user: The user's field, for LHUC.
    """

    missing_values: MissingValue | None = None
    behaviour_sequence: BehaviourSequence | None = None
    query: Sequence[str] = ()
    epnet: EpNet | None = None
    domain: Sequence[str] = ()
    ppnet: PpNet | None = None
    prior: Sequence[str] = ()
    lhuc: Lhuc | None = None
    user: str = ""

    def __post_init__(self) -> None:
        for layer, columns in (
            ("behaviour_sequence", "query"),
            ("ppnet", "prior"),
            ("lhuc", "user"),
        ):
            if getattr(self, layer) is not None and not getattr(self, columns):
                raise ValueError(f"`{layer}` needs `{columns}`. Received: none")
        if self.ppnet is not None and self.lhuc is not None:
            raise ValueError("Only one of `ppnet` and `lhuc` can gate the towers. Received: both")
