"""Layers that backbones and heads are made of, one a file."""

from keras_models.layers.cgc import Cgc
from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.stacked_dense import StackedDense
from keras_models.layers.tower import Tower

__all__ = ["Cgc", "ExpertBank", "StackedDense", "Tower"]
