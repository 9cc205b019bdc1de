"""Backbones: from one input vector to what each task reads of it."""

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.backbones.dcn_v2 import DcnV2
from keras_models.backbones.deepfm import DeepFm
from keras_models.backbones.hinet import HiNet
from keras_models.backbones.hmoe import Hmoe
from keras_models.backbones.mmoe import Mmoe
from keras_models.backbones.ple import Ple
from keras_models.backbones.shared_bottom import SharedBottom
from keras_models.backbones.star import Star

BACKBONES: dict[str, type[Backbone]] = {
    "shared_bottom": SharedBottom,
    "mmoe": Mmoe,
    "ple": Ple,
    "hinet": HiNet,
    "star": Star,
    "hmoe": Hmoe,
    "deepfm": DeepFm,
    "dcn_v2": DcnV2,
}
"""Every backbone by the name that a config gives it."""

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneOutput",
    "DcnV2",
    "DeepFm",
    "HiNet",
    "Hmoe",
    "Mmoe",
    "Ple",
    "SharedBottom",
    "Star",
]
