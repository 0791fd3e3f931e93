"""What to send instead: a sentence behind TensorFlow Serving's own, for the mistakes of beginners.

Its texts stay as they are in front, because callers match them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow.core.framework import types_pb2

from schema import features, picture_text
from serving.model_server.errors import RequestError
from serving.model_server.saved_model import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from serving.model_server.inference import Signature

EXAMPLE = '{"instances": [{"b64": "BASE64"}]}'
"""A body with a picture, its bytes in base64."""

_WANTED = f"Send the bytes of picture files (JPEG, PNG, GIF, BMP or WebP), as JSON {EXAMPLE}"
_IN_ANY_FORM = f"{_WANTED}, or as a tensor of strings of the shape [N]"
_QUESTIONS = "Questions go by POST to /v1/models/NAME:predict"

_BASE64 = re.compile(r"[A-Za-z0-9+/\s]*[=.]{0,2}\s*")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF")
_PYTHON_WORDS = re.compile(rb"\b(?:None|True|False)\b")
_OTHER_TYPE = "Expects arg["
_OFFSET = re.compile(r" at offset: (\d+)")
_MOST_NAMES = 20
_MOST_LOOKED_AT = 100


def with_remedy(error: RequestError, remedy: str) -> RequestError:
    """The refusal with a sentence behind its own; as it is where there is none."""
    if not remedy:
        return error
    # A graph's error ends with lines about its nodes, and those who read the first are not to find
    # more in it.
    said = error.message.rstrip()
    between = "\n" if "[[{{" in said else " " if said.endswith(".") else ". "
    return RequestError(error.code, f"{said}{between}{remedy}")


def of_signature(asked: str, there: Collection[str]) -> str:
    """For a signature that there is not: which there are, if there are any."""
    names = [name for name in sorted(there) if not name.startswith("__")]
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    close = next((name for name in names if name.lower() == asked.strip().lower()), "")
    meant = f"Did you mean {close}? " if close else ""
    told = f"{meant}There are {', '.join(names[:_MOST_NAMES])}{more}"
    return (
        f"{told}; a request that names none asks {DEFAULT_SIGNATURE}"
        if DEFAULT_SIGNATURE in names
        else told
    )


def of_path(method: str, target: str) -> str:
    """For a method and path that ask for nothing."""
    if method == "GET" and re.search(r":(predict|classify|regress)$", target):
        return "Ask by POST, with the question as JSON in the body"
    match = re.fullmatch(r"(/v1/models/[^/:?]+(?:/(?:versions|labels)/[^/:?]+)?)(.*)", target)
    if method == "POST":
        if match and match[2].strip("/:?").lower() in ("", "predict", "infer", "invocations"):
            return f"Questions go by POST to {match[1]}:predict"
        return _QUESTIONS
    return ""


def of_body(body: bytes, said: str) -> str:
    """For a body that is no JSON object.

    Args:
        body: as it came, unpacked.
        said: what the parser says of it.
    """
    start = body[:4096].lstrip()
    if not start:
        return f"Send JSON in the body, e.g. {EXAMPLE}"
    if body.startswith(_PICTURES):
        return f"The body is a picture; wanted is JSON with its bytes in base64: {EXAMPLE}"
    if start.startswith(b"--") and b"content-disposition" in start.lower():
        return f"The body is a form with a file; wanted is JSON with its bytes in base64: {EXAMPLE}"
    if body.startswith(b"\x1f\x8b"):
        return "The body is packed with gzip: say so with the header Content-Encoding: gzip"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in start[:4]:
        return "The body is UTF-16; JSON is UTF-8"
    if start.startswith((b"{'", b"['")):
        return "JSON's texts stand in double quotation marks, not in single ones"
    if found := picture_text.in_place_of_picture(start):
        if found != "JSON":
            return f"The body is {found}; wanted is JSON: {EXAMPLE}"
        if match := _OFFSET.search(said):
            return _at(body, int(match[1]))
        return f"Wanted is an object, e.g. {EXAMPLE}"
    return f"Send JSON in the body, e.g. {EXAMPLE}"


def of_instances(document: Mapping[str, Any], signature: Signature) -> str:
    """For a JSON object that does not make the inputs of a signature."""
    inputs = signature.inputs
    if not _takes_pictures(inputs):
        return ""
    if "instances" not in document and "inputs" not in document:
        return f"{_WANTED}; found {_keys(document)}"
    if not isinstance(document.get("instances", []), list):
        return f"The value of instances is a list, with one entry a picture. {_WANTED}"
    asked = document.get("instances", document.get("inputs"))
    # As far as it takes to see what was meant.
    waiting, names = [asked], set()
    for _ in range(_MOST_LOOKED_AT):
        if not waiting:
            break
        value = waiting.pop()
        if isinstance(value, bool | None):
            continue
        if isinstance(value, int | float):
            return f"These are numbers, and pictures are not sent as their pixels. {_WANTED}"
        if isinstance(value, list):
            waiting += value[:2]
        elif isinstance(value, dict):
            if set(value) == {"b64"}:
                if isinstance(value["b64"], str) and (fault := _of_base64(value["b64"])):
                    return fault
                waiting += [value["b64"]] if not isinstance(value["b64"], str) else []
                continue
            names |= set(value) - set(inputs) - {"b64"}
            waiting += list(value.values())[:_MOST_LOOKED_AT]
    if names:
        return f"The only input is {features.IMAGE_BYTES}. {_WANTED}"
    return _WANTED


def of_inputs(signature: Signature, given: Collection[str], said: str) -> str:
    """For inputs, as tensors, that are not those of a signature.

    Args:
        signature: what was asked.
        given: the names of the inputs.
        said: TensorFlow Serving's text.
    """
    if not _takes_pictures(signature.inputs):
        return ""
    if set(given) != set(signature.inputs):
        return f"The only input is {features.IMAGE_BYTES}. {_IN_ANY_FORM}"
    if said.startswith(_OTHER_TYPE):
        return f"Pictures are not sent as their pixels. {_IN_ANY_FORM}"
    return ""


def of_method(signature: Signature) -> str:
    """For a signature that is asked by Classify or Regress, and is not made for it."""
    if not _takes_pictures(signature.inputs):
        return ""
    return f"{signature.name} answers Predict, over REST :predict. {_IN_ANY_FORM}"


def of_values(signature: Signature, values: Mapping[str, np.ndarray]) -> str:
    """For inputs of the right names and types that the model refuses."""
    if not _takes_pictures(signature.inputs):
        return ""
    [pictures] = values.values()
    for index, content in enumerate(pictures.ravel()[:_MOST_LOOKED_AT]):
        if found := picture_text.in_place_of_picture(content):
            return f"Picture {index} is {found}, not a picture. {_IN_ANY_FORM}"
    if pictures.ndim != 1:
        shape = ",".join(map(str, pictures.shape))
        return f"Wanted is a list of pictures, and the shape sent is [{shape}]. {_IN_ANY_FORM}"
    return ""


def _takes_pictures(inputs: Mapping[str, int]) -> bool:
    return dict(inputs) == {features.IMAGE_BYTES: types_pb2.DT_STRING}


def _of_base64(text: str) -> str:
    """What is wrong with base64; empty where nothing is."""
    head = text[:64]
    if head.lower().startswith("data:"):
        return f"b64 holds a data URL: leave out everything up to its comma, {EXAMPLE}"
    if head.startswith(("b'", 'b"')):
        return "b64 holds what Python prints of bytes: make text of them, as .decode() does"
    digits = re.sub(r"\s", "", text)
    if re.fullmatch(r"[A-Za-z0-9_-]*={0,2}", digits) and re.search("[_-]", digits):
        return "b64 holds base64 as URLs have it: wanted are + and / in place of - and _"
    if not _BASE64.fullmatch(text):
        found = picture_text.in_place_of_picture(text[:4096].encode(errors="replace"))
        place = next(
            (place for place, sign in enumerate(text) if not re.match(r"[A-Za-z0-9+/\s]", sign)), 0
        )
        held = found or f"{json.dumps(text[place])} at place {place}, which is no base64"
        return f"b64 holds {held}. {_WANTED}"
    if len(digits.rstrip("=.")) % 4 == 1:
        return f"b64 is cut off: it has {len(digits.rstrip('=.')):,} digits"
    return (
        ""
        if len(digits) % 4 == 0 or not digits.endswith(("=", "."))
        else ("b64 ends with another number of = than its digits need")
    )


def _at(body: bytes, offset: int) -> str:
    """What is wrong with JSON at a place."""
    before, after = body[:offset].rstrip(), body[offset : offset + 1]
    if before.endswith(b",") and after in (b"]", b"}"):
        return f"There is a comma too many before the {after.decode()}"
    if _PYTHON_WORDS.search(body[max(0, offset - 6) : offset + 6]):
        return "JSON has null, true and false for Python's None, True and False"
    if offset >= len(body.rstrip()):
        return "The body ends too early"
    return ""


def _keys(document: Mapping[str, Any]) -> str:
    names = [json.dumps(name[:40]) for name in list(document)[:5]]
    return f"the keys {', '.join(names)}" if names else "no key"
