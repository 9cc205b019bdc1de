"""A fingerprint of source code, for cache keys.

TFX reuses a component's outputs when its inputs and parameters are unchanged; it
does not look at the code that ran. Components therefore carry this as a parameter.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path


def code_version(*modules: str) -> str:
    """Hash of the source of modules and of whole packages, without importing them.

    Args:
      modules: Dotted names; a package counts with all its `.py` and template files.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no module {name}")
        origin = Path(spec.origin)
        files = [origin]
        if spec.submodule_search_locations:
            files = sorted(f for s in ("*.py", "*.html", "*.md") for f in origin.parent.rglob(s))
        for file in files:
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
