"""The daily job: a TFX pipeline, its components, its runners and the command line."""

import os

# Keras 2 throughout (see keras_models); TensorFlow reads this when it is imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
