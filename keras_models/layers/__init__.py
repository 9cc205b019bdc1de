"""Layers that backbones, plug-ins and heads are made of, one a file."""

from keras_models.layers.behaviour_sequence import BehaviourSequence
from keras_models.layers.cgc import Cgc
from keras_models.layers.epnet import EpNet
from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.lhuc import Lhuc
from keras_models.layers.missing_value import MissingValue
from keras_models.layers.ppnet import PpNet
from keras_models.layers.stacked_dense import StackedDense
from keras_models.layers.tower import Tower

__all__ = [
    "BehaviourSequence",
    "Cgc",
    "EpNet",
    "ExpertBank",
    "Lhuc",
    "MissingValue",
    "PpNet",
    "StackedDense",
    "Tower",
]
