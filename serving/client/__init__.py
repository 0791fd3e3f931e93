"""The client that a catalog system imports: pictures in, categories and attributes out, over gRPC.

Some pictures, each of which must be answered:

    from serving.client import CatalogClient

    with CatalogClient("models.example.com:8500") as client:
        for prediction in client.predict(["shirt.jpg", "shoe.jpg"]):
            print(prediction.category, prediction.subcategory, prediction.attributes_above())

A single picture, a path or its bytes, is answered by its prediction alone:
`client.predict("shoe.jpg").category`.

Any number of pictures, some requests at a time, in their order; a bad one costs itself alone:

    from pathlib import Path
    from serving.client import CatalogClient, Refused

    pictures = sorted(Path("images").glob("*.jpg"))
    with CatalogClient("models.example.com:8500", timeout_s=30) as client:
        for picture, result in zip(pictures, client.predict_many(pictures)):
            if isinstance(result, Refused):
                print(f"{picture.name} {result.reason}")
            elif "category" in result.known:
                print(f"{picture.name}: {result.category}, {result.category_score:.2f}")

`AsyncCatalogClient` does the same in an event loop. Speaks TensorFlow Serving's own messages, so it
does not matter whether the embedded server or the tensorflow/serving image answers, and knows the
signatures of Seamline's models, older ones too. Imports gRPC, protobuf and NumPy only, and is
installable alone (README.md). Everything it raises on purpose is a `UserError`.

`conversation` holds what is said, without sending or waiting; `catalog_client` and
`async_catalog_client` send and wait. What a catalog's columns are called is no business of theirs.
"""

from serving.client.answers import ExtraLabel, Prediction, Refused, Result
from serving.client.async_catalog_client import AsyncCatalogClient
from serving.client.automatic import Automatic
from serving.client.catalog_client import CatalogClient
from serving.client.connection import Tls
from serving.client.conversation import VersionStatus
from serving.client.errors import PictureRefused, RequestFailed, UserError
from serving.client.pictures import (
    MAX_BYTES_PER_REQUEST,
    MAX_MESSAGE_BYTES,
    MAX_PICTURES_PER_REQUEST,
)
from serving.client.retries import Retries
from serving.client.tables import to_frame, write_csv

__all__ = [
    "MAX_BYTES_PER_REQUEST",
    "MAX_MESSAGE_BYTES",
    "MAX_PICTURES_PER_REQUEST",
    "AsyncCatalogClient",
    "Automatic",
    "CatalogClient",
    "ExtraLabel",
    "PictureRefused",
    "Prediction",
    "Refused",
    "RequestFailed",
    "Result",
    "Retries",
    "Tls",
    "UserError",
    "VersionStatus",
    "to_frame",
    "write_csv",
]
