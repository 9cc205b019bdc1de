"""Backbones: from one input vector to one vector a task."""

from keras_models.backbones.ple import Ple

__all__ = ["Ple"]
