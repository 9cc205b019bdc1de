"""From logs to examples (Arrow) and from examples to model inputs (tf.Transform)."""

import os

# TFT's feature layer is Keras 2; TensorFlow reads this when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
