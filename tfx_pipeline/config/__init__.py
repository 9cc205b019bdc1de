"""The typed schema of a config file.

One YAML file describes a whole job. Every key is defined, typed, defaulted and
documented here and nowhere else; `docs/reference/config.md` is generated from
this package (`make docs`). Unknown keys are errors.

Nothing here imports TensorFlow, so that `equipoise check` and `--help` are quick.
"""

from tfx_pipeline.config.embedding import EmbeddingConfig
from tfx_pipeline.config.gate import GateConfig, Thresholds
from tfx_pipeline.config.job import Config
from tfx_pipeline.config.load import load_config, read_config
from tfx_pipeline.config.scenario import OTHER

__all__ = [
    "OTHER",
    "Config",
    "EmbeddingConfig",
    "GateConfig",
    "Thresholds",
    "load_config",
    "read_config",
]
