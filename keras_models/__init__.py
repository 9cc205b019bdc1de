"""Multi-scenario, multi-task ranking models in Keras on dynamic embeddings."""

import os

# tensorflow-recommenders and TFT's feature layer are Keras 2; TensorFlow reads this when imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
