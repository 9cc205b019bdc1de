"""Gives the memory of models that were let go of back to the system.

A graph of TensorFlow's refers to itself, so that it stays until Python next collects its oldest
generation, many swaps later. And glibc keeps what is freed between blocks in use, in the pools of
all the threads that loaded a model or ran it. With both a process came to hold several times what
it needs.
"""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collects garbage, and where the C library is glibc, returns what is free."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
