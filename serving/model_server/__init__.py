"""The embedded model server: TensorFlow Serving's gRPC and REST interfaces over one SavedModel.

For a laptop, a test, or a canary, where no container runs. It promises what TensorFlow Serving
promises (names, versions, status codes, JSON), so that a client cannot tell which of the two
answers. It knows nothing of catalogs: what a signature means is the business of the model and of
the client, and no pre- or post-processing belongs here.
"""

from serving.model_server.server import ModelServer

__all__ = ["ModelServer"]
