"""What the benchmarks of the embeddings share; `tfra_step` runs in an environment of its own."""

import os

# As the packages do; TensorFlow reads these when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
