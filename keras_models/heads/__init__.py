"""From a model's logits to what is compared with labels, and to what is served; one head a file."""

from keras_models.heads.esmm import EsmmHead
from keras_models.heads.fusion import ScoreFusion
from keras_models.heads.independent import IndependentHead

__all__ = ["EsmmHead", "IndependentHead", "ScoreFusion"]
