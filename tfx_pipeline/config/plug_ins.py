"""The plug-ins' sections: what any backbone can have besides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfx_pipeline.config.section import Positive, Section, Width

Columns = Annotated[list[str], Field(min_length=1)]


class EpNetConfig(Section):
    """Scales the embeddings to the scenario (PEPNet, Chang et al., KDD 2023).

    See docs/models/pepnet.md.
    """

    domain: list[str] | None = Field(
        None,
        description="Features that the gate reads beside the scenario itself: statistics of the "
        "scenario and the like. Default: the scenario's column and its statistics, where they are "
        "features.",
    )
    hidden_units: Width = Field(64, description="Width of the gate's hidden layer.")
    gamma: Positive = Field(2.0, description="The largest factor.")
    per_field: bool = Field(False, description="One factor a field instead of one a number.")


class PpNetConfig(Section):
    """Scales what the towers' layers read to user, item and author (PEPNet).

    See docs/models/pepnet.md.
    """

    prior: Columns | None = Field(
        None,
        description="Features that stand for user, item and author. Default: those of `data.user` "
        "and `data.event_key` that are categorical features.",
    )
    hidden_units: Width = Field(64, description="Width of a gate's hidden layer.")
    gamma: Positive = Field(2.0, description="The largest factor.")
    position: Literal["input", "output"] = Field(
        "input",
        description="Whether a gate scales what a layer reads, as in the paper, or what it gives.",
    )


class LhucConfig(Section):
    """A gate per user on the towers' hidden units (Swietojanski et al., 2016).

    See docs/models/lhuc.md.
    """

    user: str | None = Field(
        None, description="Categorical feature that is the user. Default: `data.user`."
    )


class BehaviourSequenceConfig(Section):
    """Reads `features.history` with a property-gated LSTM and attention (DUPN, KDD 2018).

    See docs/models/dupn.md.
    """

    query: Columns | None = Field(
        None,
        description="Features that ask what matters of the history. With a feature of the "
        "candidate among them the encoder runs once a candidate instead of once a user. Default: "
        "`data.user`.",
    )
    units: Width = Field(128, description="Width of the state and of the user's vector.")
    attention_units: Width = Field(64, description="Width of the attention's hidden layer.")
