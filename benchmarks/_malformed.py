"""Malformed requests for a model server, over gRPC and REST, reproducible by their seed."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import random
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from benchmarks import _bombs
from schema import features

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_METHODS = {
    _PREDICTION + "Predict": predict_pb2.PredictRequest,
    _PREDICTION + "Classify": classification_pb2.ClassificationRequest,
    _PREDICTION + "Regress": regression_pb2.RegressionRequest,
    _PREDICTION + "MultiInference": inference_pb2.MultiInferenceRequest,
    _PREDICTION + "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    _MODEL + "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    _MODEL + "HandleReloadConfigRequest": model_management_pb2.ReloadConfigRequest,
}
_SIGNATURES = (
    *features.PICTURE_SIGNATURES,
    *(features.EVALUATE_SIGNATURE, features.LABELS_SIGNATURE, "", "nope", "__saved_model_init_op"),
)
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Malformed:
    """A request.

    Attributes:
        number: its place.
        kind: in a few words.
        method: path of the gRPC method; empty for REST.
        content: the message, or all that is sent over a connection.
        is_answered: a REST server must answer before it closes the connection.
    """

    number: int
    kind: str
    method: str
    content: bytes
    is_answered: bool = True


def malformed(
    seed: int, numbers: Iterable[int], model: str, pictures: Sequence[bytes]
) -> Iterator[Malformed]:
    """Requests; the same for the same seed and number.

    Args:
        seed: of the choices.
        numbers: which of them.
        model: name of a model that is served.
        pictures: good ones, to be damaged.
    """
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        make = chance.choices(list(_KINDS), list(_KINDS.values()))[0]
        yield make(_Maker(chance, number, model, pictures))


@dataclass(frozen=True)
class Outcome:
    """What became of a request.

    Attributes:
        status: gRPC's name or HTTP's number; "closed" or "silence" where nothing came.
        message: what was said.
        seconds: that it took.
    """

    status: str
    message: str
    seconds: float


def send(
    request: Malformed, channel: grpc.Channel, address: tuple[str, int], patience_s: float
) -> Outcome:
    """Sends a request, and waits for the answer.

    Args:
        request: what to send.
        channel: to the gRPC port.
        address: of the REST port.
        patience_s: how long to wait.
    """
    began = time.perf_counter()
    if request.method:
        try:
            channel.unary_unary(request.method)(request.content, timeout=patience_s)
            status, message = "OK", ""
        except grpc.RpcError as error:
            status, message = error.code().name, error.details() or ""
    else:
        status, message = _sent_over_http(request, address, patience_s)
    return Outcome(status, message, time.perf_counter() - began)


def fault(request: Malformed, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty if nothing."""
    status, message = outcome.status, outcome.message
    if request.method:
        if status == "INTERNAL" and message.startswith("The message is no tensorflow.serving."):
            return ""
        if status in ("UNKNOWN", "INTERNAL", "DATA_LOSS", "DEADLINE_EXCEEDED", "CANCELLED"):
            return f"{status}: {message}"
        if status == "UNAVAILABLE" and not message.startswith("The number of batches"):
            return f"{status}: {message}"
        return ""
    if status == "closed":
        return "closed without an answer" if request.is_answered else ""
    if status == "silence":
        return "no answer, and the connection is open"
    code = int(status)
    if code in (500, 502) or (code >= 500 and not message.startswith("{")):
        return f"{status}: {message}"
    if code >= 400 and "error" not in _json(message):
        return f"{status} without an error in JSON: {message}"
    return ""


def _json(text: str) -> dict:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sent_over_http(
    request: Malformed, address: tuple[str, int], patience_s: float
) -> tuple[str, str]:
    received = b""
    with socket.create_connection(address, timeout=patience_s) as connection:
        try:
            connection.sendall(request.content)
            if not request.is_answered:
                # Otherwise the server would wait for the rest.
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            # It has been refused already; the answer may be there all the same.
            pass
        try:
            while chunk := connection.recv(1 << 16):
                received += chunk
                if received.startswith(b"HTTP/1.1 100 "):
                    received = received.partition(b"\r\n\r\n")[2]
                if _is_whole(received):
                    break
        except TimeoutError:
            return "silence", ""
        except OSError:
            pass
    head, _, body = received.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return "closed", repr(received[:100])
    return words[1].decode(), body.decode(errors="replace")


def _is_whole(received: bytes) -> bool:
    head, ended, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return bool(ended) and len(body) >= int(line.split(b":")[1])
    return False


@dataclass(frozen=True)
class _Maker:
    chance: random.Random
    number: int
    model: str
    pictures: Sequence[bytes]

    def grpc(self, kind: str, method: str, content: bytes) -> Malformed:
        return Malformed(self.number, kind, method, content)

    def http(self, kind: str, content: bytes, is_answered: bool = True) -> Malformed:
        return Malformed(self.number, kind, "", content, is_answered)

    def post(self, kind: str, body: bytes, headers: str = "", verb: str = "predict") -> Malformed:
        head = (
            f"POST /v1/models/{self.model}:{verb} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n"
        )
        return self.http(kind, head.encode("latin-1") + body)

    def spec(self, spec) -> None:
        chance = self.chance
        spec.name = self.model
        if chance.random() < 0.1:
            spec.name = chance.choice(("", "x", "\0", "é" * 99))
        if chance.random() < 0.1:
            spec.version.value = chance.choice((0, 1, -1, 7, _LARGEST))
        elif chance.random() < 0.05:
            spec.version_label = chance.choice(("", "stable", "x" * 5000))
        spec.signature_name = chance.choice(_SIGNATURES)

    def picture(self) -> bytes:
        chance = self.chance
        how = chance.random()
        if how < 0.45:
            return chance.choice(_bomb_files())()
        good = chance.choice(self.pictures)
        if how < 0.8:
            return _damaged(chance, good)
        return chance.choice(
            (b"", b"\xff\xd8\xff", good[: chance.randrange(len(good))], good + good, b"GIF89a",
             chance.randbytes(chance.randrange(1, 3000)), b"\x89PNG\r\n\x1a\n", b"BM",
             b"RIFF\xff\xff\xff\xffWEBPVP8X", good)
        )  # fmt: skip

    def some_pictures(self) -> list[bytes]:
        how_many = self.chance.choice((1, 1, 1, 1, 2, 2, 4, 8, 32))
        one = self.picture()
        if self.chance.random() < 0.3:
            return [one] * how_many
        return [one, *(self.picture() for _ in range(how_many - 1))]


_NUMBERS_ON_THE_WIRE = (b"\xff" * 9 + b"\x01", b"\0", b"\x80" * 12, b"\xff\xff\xff\xff")


def _damaged(chance: random.Random, content: bytes) -> bytes:
    """The content with some bytes changed, left out, put in, doubled or moved."""
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        place = chance.randrange(len(damaged) + 1)
        length = min(chance.choice((1, 1, 2, 8, 200)), len(damaged) - place)
        how = chance.randrange(6)
        if how == 0 and length:
            damaged[place] ^= 1 << chance.randrange(8)
        elif how == 1 and length:
            damaged[place : place + length] = chance.randbytes(length)
        elif how == 2:
            del damaged[place : place + length]
        elif how == 3:
            damaged[place:place] = chance.choice((*_NUMBERS_ON_THE_WIRE, chance.randbytes(4)))
        elif how == 4:
            damaged[place:place] = damaged[place : place + length]
        else:
            del damaged[place + length * 50 :]
        if not damaged:
            break
    return bytes(damaged)


@functools.cache
def _bomb_files() -> tuple[Callable[[], bytes], ...]:
    """Pictures that claim or cost much, each made when it is wanted, once."""
    wanted: dict[Callable[..., bytes], list[tuple]] = {
        _bombs.png: [
            *((23_000, 23_000), (7_070, 7_070), (4_900, 4_900), (1_600, 1_600), (20_000, 8)),
            *((20_000, 1_200), (4_900, 4_900, 16, 6), (4_900, 4_900, 1, 0), (4_900, 4_900, 8, 6)),
        ],
        _bombs.claiming_png: [
            *((40_000, 40_000), (7_000, 7_000), (4_000, 4_000), (0, 0), (2**31 - 1, 1)),
        ],
        _bombs.jpeg: [
            *((7_070, 7_070), (7_070, 7_070, 0, 3), (20_000, 2_400), (7_070, 7_070, 10, 3)),
            *((4_900, 4_900, 10, 3), (4_900, 4_900, 90), (65_000, 8, 10), (7_000, 7_000, 2_000)),
            *((1_000, 1_000, 5_000), (3_000, 3_000, 800, 3)),
        ],
        _bombs.claiming_jpeg: [
            (*sides, progressive)
            for sides in ((40_000, 40_000), (7_000, 7_000), (0, 0), (65_535, 65_535))
            for progressive in (False, True)
        ],
        _bombs.gif: [
            *((7_070, 7_070), (4_900, 4_900), (3_000, 3_000, 100), (20_000, 20_000, 1, (64, 64))),
            *((4_900, 4_900, 20, (8, 8)), (3_000, 3_000, 2, None, 1), (16, 16, 20_000), (0, 0)),
        ],
        _bombs.bmp: [
            *((20_000, 20_000), (7_000, 7_000), (-5, 5), (2**31 - 1, 1)),
            *((1_000, 1_000, True), (1_000, -1_000, True)),
        ],
        _bombs.webp: [(16_383, 16_383), (7_000, 7_000), (4_900, 4_900)],
        _bombs.extended_webp: [(100, 100), (16_383, 16_383), (1 << 24, 8)],
    }
    return tuple(
        functools.cache(functools.partial(make, *of))
        for make, several in wanted.items()
        for of in several
    )


def _mutated_message(make: _Maker) -> Malformed:
    method = make.chance.choice(list(_METHODS))
    message = _METHODS[method]()
    picture = make.chance.choice(make.pictures)
    if method.endswith("Predict"):
        make.spec(message.model_spec)
        _strings(message.inputs[features.IMAGE_BYTES], [picture])
    elif method.endswith("MultiInference"):
        for _ in range(make.chance.randrange(3)):
            task = message.tasks.add(method_name=make.chance.choice(_METHOD_NAMES))
            make.spec(task.model_spec)
        _examples(make, message.input)
    elif method.endswith("HandleReloadConfigRequest"):
        # What is not damaged must not take the good callers' model away.
        message.config.custom_model_config.SetInParent()
    else:
        make.spec(message.model_spec)
        if hasattr(message, "metadata_field"):
            message.metadata_field.append("signature_def")
        if hasattr(message, "input"):
            _examples(make, message.input)
    content = message.SerializeToString()
    if method.endswith("HandleReloadConfigRequest"):
        content = make.chance.choice((content, b"", b"\n", b"\xff" * 20, content + b"\x12\x80"))
    elif make.chance.random() < 0.9:
        content = _damaged(make.chance, content)
    return make.grpc("mutated message", method, content)


_METHOD_NAMES = ("tensorflow/serving/classify", "tensorflow/serving/regress", "", "nope")


def _examples(make: _Maker, wanted) -> None:
    """An Input of Examples, good and bad."""
    chance = make.chance
    if chance.random() < 0.2:
        return
    examples = wanted.example_list.examples
    if chance.random() < 0.3:
        examples = wanted.example_list_with_context.examples
    for _ in range(chance.choice((0, 1, 2, 9))):
        feature = examples.add().features.feature
        feature[features.IMAGE].bytes_list.value.append(make.picture())
        if chance.random() < 0.5:
            feature[chance.choice(("", "x", "é", features.CATEGORY))].int64_list.value.append(-1)


def _strings(tensor: tensor_pb2.TensorProto, values: Sequence[bytes]) -> None:
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.string_val.extend(values)


_SIZES = (0, 1, 1, 1, 1, 2, 3, -1, -2, 1000, 10**6, 5 * 10**6, 2**31, 2**62)


def _strange_tensor(make: _Maker) -> Malformed:
    """A tensor of any rank, claim and type."""
    chance = make.chance
    request = predict_pb2.PredictRequest()
    make.spec(request.model_spec)
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        alias = chance.choice((features.IMAGE_BYTES, features.IMAGE_BYTES, "examples", "x", ""))
        tensor = request.inputs[alias]
        tensor.dtype = types_pb2.DT_STRING
        if chance.random() < 0.5:
            tensor.dtype = chance.choice((*range(31), 101, 107, 999))
        rank = chance.choice((0, 1, 1, 1, 2, 3, 8, 31, 32, 33, 64, 254, 255, 1000))
        for _ in range(rank):
            size = chance.choice(_SIZES)
            tensor.tensor_shape.dim.add(size=size if rank < 4 else min(size, 2))
        tensor.tensor_shape.unknown_rank = chance.random() < 0.05
        for _ in range(chance.choice((0, 1, 1, 2, 100))):
            tensor.string_val.append(chance.choice((b"", b"x", b"x" * 2400, make.picture())))
        if chance.random() < 0.4:
            value = chance.choice((0.0, float("nan"), 3e38))
            tensor.float_val.extend([value] * chance.randrange(9))
            tensor.int_val.extend([-1, 2**31 - 1][: chance.randrange(3)])
            tensor.half_val.extend([70_000] * chance.randrange(2))
            tensor.bool_val.extend([True] * chance.randrange(3))
        if chance.random() < 0.3:
            tensor.tensor_content = chance.randbytes(chance.choice((1, 4, 7, 4096)))
    if chance.random() < 0.2:
        request.output_filter.extend(
            chance.sample(("category", "status", "", "nope", "embedding", "category"), 3)
        )
    return make.grpc("strange tensor", _PREDICTION + "Predict", request.SerializeToString())


def _pictures_over_grpc(make: _Maker) -> Malformed:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = make.model
    request.model_spec.signature_name = make.chance.choice(features.PICTURE_SIGNATURES)
    _strings(request.inputs[features.IMAGE_BYTES], make.some_pictures())
    return make.grpc("pictures", _PREDICTION + "Predict", request.SerializeToString())


def _pictures_over_rest(make: _Maker) -> Malformed:
    rows = [{"b64": base64.b64encode(picture).decode()} for picture in make.some_pictures()]
    asked = {"signature_name": make.chance.choice(features.PICTURE_SIGNATURES), "instances": rows}
    return make.post("pictures", json.dumps(asked).encode())


def _pictures_of_examples(make: _Maker) -> Malformed:
    """Bombs where the signature for evaluation finds them."""
    from tensorflow.core.example import example_pb2

    serialized = []
    for picture in make.some_pictures():
        example = example_pb2.Example()
        example.features.feature[features.IMAGE].bytes_list.value.append(picture)
        serialized.append(example.SerializeToString())
    request = predict_pb2.PredictRequest()
    request.model_spec.name = make.model
    request.model_spec.signature_name = features.EVALUATE_SIGNATURE
    _strings(request.inputs["examples"], serialized)
    return make.grpc("pictures in Examples", _PREDICTION + "Predict", request.SerializeToString())


_NUMBERS = (
    *("1e400", "-1e400", "NaN", "-Infinity", "0x1", "01", "1.", "1e", "--1"),
    *("9" * 400, "1" + "0" * 5000, "0." + "0" * 5000 + "1"),
)
_WRONG_INPUTS = ("null", "[]", "{}", "true", '""', "[[],[1]]")


def _strange_json(make: _Maker) -> Malformed:
    chance = make.chance
    deep = chance.choice((10, 31, 32, 33, 64, 65, 500, 900, 1001, 100_000, 1_000_000))
    inside = chance.choice(('"a"', "1", "", "{}", "null", '{"b64":"AA=="}'))
    picture = base64.b64encode(make.picture()).decode()
    number = chance.choice(_NUMBERS)
    cut = picture[: chance.randrange(len(picture) + 1)]

    def instances(*rows: str) -> str:
        return f'{{"instances": [{",".join(rows)}]}}'

    def encoded(text: str) -> str:
        return f'{{"b64": "{text}"}}'

    bodies: tuple[Callable[[], str], ...] = (
        lambda: '{"instances":' + "[" * deep + inside + "]" * deep + "}",
        lambda: '{"instances":' + "[" * deep,
        lambda: '{"inputs":' + '{"a":' * deep + inside + "}" * deep + "}",
        lambda: "[" * deep + "]" * deep,
        lambda: instances(number),
        lambda: instances(*[number] * 1000),
        lambda: instances(encoded(cut)),
        lambda: instances(encoded(chance.choice(("=", "A", "*", "A=A", "é", "")))),
        lambda: instances('{"b64": {"b64": "AA=="}}', '{"b64": 1}'),
        lambda: instances(f'{{"image_bytes": {encoded(picture)}, "x": 1}}'),
        lambda: instances(encoded(picture))[:-1] + ', "inputs": 1}',
        lambda: f'{{"inputs": {{"image_bytes": [{encoded(picture)}, 1, null]}}}}',
        lambda: f'{{"inputs": {chance.choice(_WRONG_INPUTS)}}}',
        lambda: f'{{"signature_name": {number}, "instances": [1]}}',
        lambda: instances(*["[]"] * chance.choice((3, 10**5, 2 * 10**6))),
        lambda: instances(*['""'] * chance.choice((3, 10**4, 10**6))),
        lambda: "\ufeff" * chance.choice((1, 2)) + instances("1"),
        lambda: instances('"\\ud800"', '"\\u0000"', '"\\q"'),
        lambda: f'{{"examples": [{{"{chance.choice(("", "image"))}": {inside or 0}}}]}}',
        lambda: f'{{"context": {inside or 0}, "examples": [{{}}, 1]}}',
        lambda: '{"a":1,' * 20_000 + "}" * 20_000,
        lambda: '"' + "x" * chance.choice((1, 10**7)),
        lambda: " " * chance.choice((0, 10**7)),
    )
    body = chance.choice(bodies)()
    verb = chance.choice(("predict", "predict", "predict", "classify", "regress"))
    return make.post("strange JSON", body.encode("utf-8", "surrogatepass"), verb=verb)


def _mutated_json(make: _Maker) -> Malformed:
    good = {"instances": [{"b64": base64.b64encode(make.chance.choice(make.pictures)).decode()}]}
    return make.post("mutated JSON", _damaged(make.chance, json.dumps(good).encode()))


def _packed(make: _Maker) -> Malformed:
    chance = make.chance
    text = chance.choice((b" ", b"[", b"[],", b'"', b"1,", b"\0", b'{"a":'))
    most = (64 if chance.random() < 0.5 else 200) << 20
    body = bytearray(_packed_bomb(text, chance.choice((1 << 10, 1 << 20, most))))
    how = chance.randrange(5)
    if how == 0:
        body[-4:] = struct.pack("<I", chance.choice((0, 1, 2**31, 2**32 - 1)))
    elif how == 1:
        del body[len(body) // 2 :]
    elif how == 2:
        body += bytes(body) if len(body) < 1 << 20 else b"\x1f\x8b"
    elif how == 3:
        body = bytearray(_damaged(chance, bytes(body)))
    return make.post("gzip", bytes(body), "Content-Encoding: gzip\r\n")


@functools.lru_cache(16)
def _packed_bomb(text: bytes, length: int) -> bytes:
    return gzip.compress(text * (length // len(text)), 1, mtime=0)


def _strange_http(make: _Maker) -> Malformed:
    chance = make.chance
    path = f"/v1/models/{make.model}:predict"
    body = b'{"instances": [1]}'
    start = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
    chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
    long = b"x" * chance.choice((100, 10_000, 100_000, 1_000_000))
    wrong_length = chance.choice((b"-1", b"0x10", b"1e3", b"", b"99999999999999999999", b"1, 2"))
    answered = [
        start + b"Content-Length: " + wrong_length + b"\r\n\r\n" + body,
        start + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
        start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
        start + b"Content-Length: 9999999999\r\n\r\n" + body,
        chunked + b"zz\r\n" + body,
        chunked + b"ffffffffffffffffff\r\n" + body,
        chunked + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n",
        chunked + b"12\r\n" + body + b"\r\n0\r\nx-trailer: " + long[:1000] + b"\r\n\r\n",
        start + b"x: " + long + b"\r\nContent-Length: 18\r\n\r\n" + body,
        start + b"x: y\r\n" * chance.choice((100, 5_000)) + b"Content-Length: 18\r\n\r\n" + body,
        start + b"Expect: 100-continue\r\nContent-Length: 18\r\n\r\n" + body,
        start + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n"
        b"Content-Length: 18\r\n\r\n" + body,
        start + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AA==\r\n\r\n",
        start + b"Content-Encoding: " + chance.choice((b"br", b"gzip, gzip", b"\xff", b"zip"))
        + b"\r\nContent-Length: 18\r\n\r\n" + body,
        start + b"Accept-Encoding: gzip;q=\xff, gzip;q=nan\r\nContent-Length: 18\r\n\r\n" + body,
        b"GET " + long[:100_000] + b" HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(508),
        chance.randbytes(chance.choice((10, 1000, 100_000))),
        b"BREW " + path.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"%s %s HTTP/1.1\r\nHost: x\r\n\r\n"
        % (
            chance.choice((b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT")),
            chance.choice(
                (b"/", b"//", b"/v1", b"/v1/models/%00", b"/v1/models/catalog/labels/%ff",
                 b"/v1/models/catalog/versions/" + b"9" * 99, b"*", b"/%zz",
                 b"/v1/models/../../etc/passwd",
                 b"/v1/models/catalog:predict?" + long[:9000], b"/v1/models/catalog/metadata",
                 b"/monitoring/prometheus/metrics", b"/v1/models/\xff\xfe", b"http://x/v1/models/a")
            ),
        ),
        _damaged(chance, start + b"Content-Length: 18\r\n\r\n" + body),
    ]  # fmt: skip
    cut = [
        # What ends in the middle is nothing to be answered.
        start + b"Content-Length: 100\r\n\r\n" + body,
        chunked + b"ff\r\n" + body,
        start[: chance.randrange(len(start))],
        b"",
        b"\r\n" * 100,
    ]
    if chance.random() < 0.2:
        return make.http("cut off HTTP", chance.choice(cut), is_answered=False)
    place = chance.randrange(len(answered))
    # By chance these may end in the middle, too.
    sure = place not in (3, 4, 5, 17, 18, len(answered) - 1)
    return make.http("strange HTTP", answered[place], is_answered=sure)


_KINDS: dict[Callable[[_Maker], Malformed], float] = {
    _mutated_message: 25,
    _strange_tensor: 20,
    _pictures_over_grpc: 10,
    _pictures_over_rest: 5,
    _pictures_of_examples: 3,
    _strange_json: 14,
    _mutated_json: 8,
    _packed: 5,
    _strange_http: 10,
}
"""How often each kind of request is made, in hundredths."""
