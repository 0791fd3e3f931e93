"""The embedded model server: TensorFlow Serving's gRPC and REST interfaces over any SavedModel.

For a laptop, a test, a canary, or production where no container runs. It promises what TensorFlow
Serving promises (flags, names, versions, status codes, JSON), so that a client cannot tell which of
the two answers. It knows nothing of catalogs: what a signature means is the business of the model
and of the client, and no pre- or post-processing belongs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.model_server.server import ModelServer

__all__ = ["ModelServer"]


def __getattr__(name: str) -> object:
    # The server needs all of the package's modules, and most of them need no server.
    if name == "ModelServer":
        from serving.model_server.server import ModelServer

        return ModelServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
