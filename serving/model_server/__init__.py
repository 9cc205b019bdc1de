"""A local model server: a stand-in for TensorFlow Serving.

It answers TensorFlow Serving's gRPC and REST calls with TensorFlow Serving's protos, codes and
texts, and reads tensorflow_model_server's config files. It is for trying out and testing what
was pushed; production points tensorflow_model_server at the same folder.
"""

from serving.model_server.command import serve
from serving.model_server.server import PREDICTION_SERVICE, ModelServer

__all__ = ["PREDICTION_SERVICE", "ModelServer", "serve"]
