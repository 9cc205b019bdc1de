"""The daily job: a TFX pipeline, its components, its runners and the command line."""

import os
from typing import Any

# Keras 2 throughout (see keras_models); TensorFlow reads this when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def __getattr__(name: str) -> Any:
    """The artifact types, by the names that `tfx_pipeline.artifacts` gives them."""
    # Importing them takes TFX's ten seconds, and a name of another kind is none of theirs.
    if name[:1].isupper():
        from tfx_pipeline import artifacts

        if getattr(getattr(artifacts, name, None), "TYPE_NAME", None) == f"{__name__}.{name}":
            return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
