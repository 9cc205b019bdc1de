"""Export to a SavedModel that stock TensorFlow Serving loads, a local server and a client."""

import os

# The exported models are Keras 2; TensorFlow reads this when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
