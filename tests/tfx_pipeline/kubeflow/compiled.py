"""Reads a compiled file into Kubeflow's protos; nothing that they do not know passes.

    python compiled.py FILE

prints what they hold, as JSON. It needs the environment of `make kubeflow`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2


@dataclass(frozen=True)
class Compiled:
    """A compiled file, as its protos say it in JSON.

    Args:
      pipeline: PipelineSpec.
      deployment: PipelineDeploymentConfig, which the former holds as a plain structure.
      platform: PlatformSpec.
    """

    pipeline: dict[str, Any]
    deployment: dict[str, Any]
    platform: dict[str, Any]


def read(path: Path) -> Compiled:
    if path.suffix == ".json":
        both = json.loads(path.read_text())
        pipeline, platform = both["pipeline_spec"], both["platform_spec"]
    else:
        pipeline, platform = yaml.safe_load_all(path.read_text())
    spec = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    deployment = json_format.ParseDict(
        json_format.MessageToDict(spec.deployment_spec),
        pipeline_spec_pb2.PipelineDeploymentConfig(),
    )
    around = json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    return Compiled(*map(json_format.MessageToDict, (spec, deployment, around)))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(read(Path(sys.argv[1])))))
