"""Why a delta cannot be made or applied."""

from __future__ import annotations

PUSH_WHOLE = "Push the whole version."
MEND = f"Copy it again from a host where it is whole. Or: {PUSH_WHOLE.lower()}"


class DeltaRefusedError(ValueError):
    """A delta that cannot be made of two versions, or applied to one.

    Args:
      where: The file or folder.
      found: What is there.
      expected: What should be there.
      remedy: What to do.
    """

    def __init__(self, where: object, found: str, expected: str, remedy: str):
        super().__init__(f"{where}: found {found}; expected {expected}. {remedy}")
