"""Who made a delta: HMAC-SHA256 with a key that its maker and those who apply it share."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from serving.delta.refused import DeltaRefusedError

_LEAST_BYTES = 32


def read_key(path: str | Path) -> bytes:
    """The key in a file, without blanks and line ends around it.

    Args:
      path: The file.

    Raises:
      DeltaRefusedError: if there is none, or it is too short. No message holds any of the key.
    """
    expected = f"a key of {_LEAST_BYTES} bytes or more"
    remedy = "`openssl rand -hex 32` draws one. Keep it where the keys of your hosts are kept."
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise DeltaRefusedError(path, error.strerror or "no file", expected, remedy) from error
    if len(key) < _LEAST_BYTES:
        raise DeltaRefusedError(path, f"{len(key)} bytes", expected, remedy)
    return key


def sign(text: bytes, key: bytes) -> str:
    """The signature of a text, in hex."""
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def is_signed(text: bytes, signature: str, key: bytes) -> bool:
    """Whether a signature is that of a text, in a time that does not tell where they differ."""
    return hmac.compare_digest(sign(text, key), signature)
