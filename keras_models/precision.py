"""Mixed precision of the dense part."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras as keras


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers made inside compute in a dtype policy; their weights stay float32.

    Args:
      policy: `float32` or `mixed_bfloat16`. bfloat16 has float32's range, so losses need no
        scaling.

    Reference: Micikevicius et al., "Mixed precision training", ICLR 2018.
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
