"""The client that a catalog system imports: pictures in, categories and attributes out, over gRPC.

    with CatalogClient("models.example.com:8500") as client:
        for prediction in client.predict(["shirt.jpg", "shoe.jpg"]):
            print(prediction.category, prediction.subcategory, prediction.attributes_above())

Speaks TensorFlow Serving's own messages, so it does not matter whether the embedded server or the
tensorflow/serving image answers. Imports gRPC, protobuf and NumPy only.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from schema import features
from schema.errors import UserError
from serving import tf_serving_pb2 as messages

MAX_PICTURES_PER_REQUEST = 64
MAX_BYTES_PER_REQUEST = 8 << 20
"""A request holds at most so many bytes of pictures; one larger picture travels alone."""

MAX_MESSAGE_BYTES = 64 << 20
"""Largest message that either side accepts."""


def _level_axes(level: str) -> dict[str, int]:
    """The outputs of a level with one label a picture, with their axes."""
    return {
        level: 1,
        features.score(level): 1,
        features.labels(level): 2,
        features.scores(level): 2,
    }


_AXES = {
    **_level_axes(features.CATEGORY),
    **_level_axes(features.SUBCATEGORY),
    features.ATTRIBUTES: 2,
    features.ATTRIBUTE_SCORES: 2,
    features.EMBEDDING: 2,
}
"""The outputs that every serving signature has and how many axes each has; the first is the
picture. Those of extra labels are found in the answer."""

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.05, 1.0

# The serving graph names the first picture that it cannot decode by its index in the request.
_UNDECODABLE = re.compile(features.UNDECODABLE.format(r"(\d+)"))


@dataclass(frozen=True)
class ExtraLabel:
    """What the model says about a picture in one further respect, e.g. its gender.

    Attributes:
        label: the likeliest label.
        score: its probability, in [0, 1].
        scores: probability of every label, highest first; they sum to 1.
    """

    label: str
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """What the model says about one picture. Scores are ordered, highest first.

    Attributes:
        category: the likeliest category.
        category_score: its probability, in [0, 1].
        subcategory: the likeliest sub-category.
        subcategory_score: its probability, in [0, 1]; where the likeliest sub-category of all was
            never seen under the category, and another one is answered, its probability given the
            category.
        attributes: probability of every `group=value` label, each in [0, 1] by itself.
        category_scores: probability of every category; they sum to 1.
        subcategory_scores: probability of every sub-category; they sum to 1.
        embedding: a vector of unit length; similar products have similar ones.
        extra_labels: each further label that the model names, by its column in the catalog, e.g.
            `prediction.extra_labels["gender"].label`; empty if it names none.
    """

    category: str
    category_score: float
    subcategory: str
    subcategory_score: float
    attributes: dict[str, float]
    category_scores: dict[str, float]
    subcategory_scores: dict[str, float]
    embedding: tuple[float, ...]
    extra_labels: dict[str, ExtraLabel] = field(default_factory=dict)

    def top_categories(self, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest categories with their probabilities, highest first."""
        return list(self.category_scores.items())[:k]

    def top_subcategories(self, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest sub-categories with their probabilities, highest first."""
        return list(self.subcategory_scores.items())[:k]

    def attributes_above(self, threshold: float = 0.75) -> dict[str, float]:
        """The attributes whose probability reaches the threshold, highest first."""
        return {label: score for label, score in self.attributes.items() if score >= threshold}

    def to_dict(self, embedding: bool = False) -> dict[str, Any]:
        """Everything as plain types for JSON; the embedding only if asked for, as it is long."""
        plain = asdict(self)
        del plain["embedding"]
        if embedding:
            plain["embedding"] = list(self.embedding)
        return plain


@dataclass(frozen=True)
class VersionStatus:
    """One version of a served model: its state (`AVAILABLE` answers) and, if it failed, why."""

    version: int
    state: str
    error: str


@dataclass(frozen=True)
class _Picture:
    """An encoded picture and how to call it when talking to a person."""

    content: bytes
    name: str


class CatalogClient:
    """A connection to a model server. Threads may share one.

    Args:
        server: "host:port" of the server's gRPC port; with "dns:///" before it, every address
            behind the name is asked in turn.
        model_name: the name under which the model is served.
        timeout_s: how long one request may take, with all its retries. A server that does not
            answer, or is too busy to, is asked again until then.
    """

    def __init__(
        self,
        server: str = "localhost:8500",
        model_name: str = "catalog",
        timeout_s: float = 10.0,
    ):
        self._server = server
        self._model_name = model_name
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(
            server,
            options=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                # Where the name stands for several replicas, they take turns.
                ("grpc.lb_policy_name", "round_robin"),
                # gRPC would wait 1 s, then up to 120 s, before it looks again for a server that
                # is being restarted.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                # A model server stands in one's own network. Without this an http_proxy in the
                # environment catches even calls to localhost.
                ("grpc.enable_http_proxy", 0),
            ],
        )
        self._predict = self._channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=messages.PredictRequest.SerializeToString,
            response_deserializer=messages.PredictResponse.FromString,
        )
        self._get_model_status = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=messages.GetModelStatusRequest.SerializeToString,
            response_deserializer=messages.GetModelStatusResponse.FromString,
        )

    def __enter__(self) -> CatalogClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the client cannot be used afterwards."""
        self._channel.close()

    def predict(self, images: Sequence[bytes | str | Path]) -> list[Prediction]:
        """Asks the model about pictures.

        Args:
            images: encoded pictures (JPEG or PNG) as bytes, or paths of such files. They are sent
                in as many requests as their number and size need.

        Returns:
            One prediction a picture, in the same order.

        Raises:
            UserError: a file cannot be read, a picture cannot be decoded (both name the picture),
                the server does not answer in time, it has no such model, or the model is not one
                of Seamline's.
        """
        predictions: list[Prediction] = []
        for batch in _batches(_picture(image, i) for i, image in enumerate(images)):
            request = messages.PredictRequest(
                model_spec=messages.ModelSpec(
                    name=self._model_name, signature_name=features.SERVING_SIGNATURE
                )
            )
            request.inputs[features.IMAGE_BYTES].CopyFrom(
                messages.Tensor(
                    dtype=messages.DT_STRING,
                    tensor_shape=messages.TensorShape(
                        dim=[messages.TensorShape.Dim(size=len(batch))]
                    ),
                    string_val=[picture.content for picture in batch],
                )
            )
            try:
                response = self._ask(self._predict, request)
            except grpc.RpcError as error:
                raise self._explained(error, batch) from error
            try:
                predictions.extend(_predictions(response.outputs, len(batch)))
            except ValueError as error:
                raise UserError(
                    f"The model {self._model_name!r} at {self._server} does not answer as "
                    f"Seamline's models do: {error}. Ask for another model."
                ) from error
        return predictions

    def model_status(self) -> list[VersionStatus]:
        """What the server says about each version of the model that it knows, oldest first.

        Raises:
            UserError: the server does not answer in time, or it has no such model.
        """
        request = messages.GetModelStatusRequest(
            model_spec=messages.ModelSpec(name=self._model_name)
        )
        try:
            response = self._ask(self._get_model_status, request)
        except grpc.RpcError as error:
            raise self._explained(error, []) from error
        return sorted(
            (
                VersionStatus(
                    version=status.version,
                    state=messages.VersionStatus.State.Name(status.state),
                    error=status.status.error_message,
                )
                for status in response.model_version_status
            ),
            key=lambda status: status.version,
        )

    def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        """Calls the method; while the server is away or too busy, again until the time is over."""
        deadline = time.monotonic() + self._timeout_s
        pause_s = _FIRST_RETRY_S
        while True:
            try:
                return method(request, timeout=deadline - time.monotonic())
            except grpc.RpcError as error:
                passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
                if error.code() not in passing or time.monotonic() + pause_s >= deadline:
                    raise
            # Clients that were cut off together must not come back together.
            time.sleep(pause_s * random.uniform(0.5, 1))
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    def _explained(self, error: grpc.RpcError, pictures: Sequence[_Picture]) -> UserError:
        """The error in words for a person, given the pictures that the request held."""
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.UNAVAILABLE:
            return UserError(
                f"No model server answers at {self._server} ({details}). Start one with "
                "`seamline serve WORKSPACE`, or name another with --server HOST:PORT."
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return UserError(
                f"The model server at {self._server} did not answer within {self._timeout_s:g} s. "
                "See whether it is overloaded, or allow it more time."
            )
        if code is grpc.StatusCode.NOT_FOUND:
            return UserError(
                f"The server at {self._server} has no model named {self._model_name!r} "
                f"({details}). Ask for the name that it was started with."
            )
        index = _UNDECODABLE.search(details)
        if code is grpc.StatusCode.INVALID_ARGUMENT and index and int(index[1]) < len(pictures):
            return UserError(
                f"{pictures[int(index[1])].name} cannot be decoded. It must be a whole JPEG or "
                "PNG; convert it or leave it out."
            )
        return UserError(f"The model server at {self._server} refused ({code.name}): {details}")


def _picture(image: bytes | str | Path, index: int) -> _Picture:
    """Reads the picture; `index` names it if it was given as bytes."""
    if isinstance(image, bytes):
        picture = _Picture(image, f"Picture {index}, given as bytes,")
    else:
        try:
            picture = _Picture(Path(image).read_bytes(), str(image))
        except OSError as error:
            raise UserError(
                f"Cannot read the picture {image}: {error.strerror}. Check the path."
            ) from error
    # A message holds the model's name and the lengths besides the picture.
    if len(picture.content) > MAX_MESSAGE_BYTES - 1024:
        raise UserError(
            f"{picture.name} has {len(picture.content) >> 20} MB; a request holds at most "
            f"{MAX_MESSAGE_BYTES >> 20} MB. Make the picture smaller."
        )
    return picture


def _batches(pictures: Iterator[_Picture]) -> Iterator[list[_Picture]]:
    """Groups pictures, in order, into requests of bounded number and bytes."""
    batch: list[_Picture] = []
    size = 0
    for picture in pictures:
        full = len(batch) == MAX_PICTURES_PER_REQUEST
        if batch and (full or size + len(picture.content) > MAX_BYTES_PER_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(picture)
        size += len(picture.content)
    if batch:
        yield batch


def _predictions(outputs: Mapping[str, messages.Tensor], count: int) -> Iterator[Prediction]:
    """Takes the outputs of the serving signature apart, picture by picture.

    Raises:
        ValueError: outputs are missing or do not fit together.
    """
    if missing := sorted(_AXES.keys() - outputs.keys()):
        raise ValueError(f"its answer lacks {', '.join(missing)}")
    extras = _extra_labels(outputs)
    axes = _AXES | {name: axes for extra in extras for name, axes in _level_axes(extra).items()}
    answer = {name: _array(outputs[name]) for name in axes}
    for name, values in answer.items():
        if values.ndim != axes[name] or len(values) != count:
            raise ValueError(f"its {name} has the shape {values.shape} for {count} pictures")
    for values in zip(*answer.values(), strict=True):
        row = dict(zip(answer, values, strict=True))

        def named(level: str, row: Mapping[str, Any] = row) -> ExtraLabel:
            scores = _highest_first(row[features.labels(level)], row[features.scores(level)])
            return ExtraLabel(row[level], float(row[features.score(level)]), scores)

        category, subcategory = named(features.CATEGORY), named(features.SUBCATEGORY)
        yield Prediction(
            category=category.label,
            category_score=category.score,
            subcategory=subcategory.label,
            subcategory_score=subcategory.score,
            attributes=_highest_first(row[features.ATTRIBUTES], row[features.ATTRIBUTE_SCORES]),
            category_scores=category.scores,
            subcategory_scores=subcategory.scores,
            embedding=tuple(row[features.EMBEDDING].tolist()),
            extra_labels={extra: named(extra) for extra in extras},
        )


def _extra_labels(outputs: Iterable[str]) -> list[str]:
    """The labels beside category and sub-category that have all outputs of one."""
    there = set(outputs)
    levels = {name for name in there if there.issuperset(_level_axes(name))}
    return sorted(levels - {features.CATEGORY, features.SUBCATEGORY})


def _highest_first(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    if len(labels) != len(scores):
        raise ValueError(f"it has {len(scores)} scores for {len(labels)} labels")
    order = np.argsort(-scores, kind="stable")
    return dict(zip(labels[order].tolist(), scores[order].tolist(), strict=True))


def _array(tensor: messages.Tensor) -> np.ndarray:
    """The tensor as float32 or as an object array of str."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == messages.DT_STRING:
        text = np.empty(len(tensor.string_val), dtype=object)
        text[:] = [value.decode() for value in tensor.string_val]
        return text.reshape(shape)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype="<f4").reshape(shape)
    return np.array(tensor.float_val, dtype=np.float32).reshape(shape)
