"""The API as an ASGI application, and the page's files beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import grpc
from fastapi import Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from schema.errors import UserError
from schema.search_blocks import COLOR, FEATURES, KIND
from schema.version import VERSION
from serving.app import answers, parameters
from serving.app.errors import AWAY, BAD_REQUEST, NOT_FOUND, TOO_MANY, Refused, status_of
from serving.app.explanations import explain
from serving.app.finder import Asked, Finder
from serving.app.guard import Guard
from serving.app.models import Model, Models
from serving.app.pictures import media_type
from serving.app.uploads import FIELD, Uploads
from serving.client import RequestFailed
from serving.search import DamagedIndex, IndexAway

PAGE = Path(__file__).parent / "page"

MOST_ANSWERED = 128
"""Pictures that are asked about at a time; some seconds' worth for one model server."""

MOST_HELD_BYTES = 400 * 1024 * 1024

_log = logging.getLogger("seamline.app")

_REPEATED = frozenset({"where", "weight", "exclude"})

_ABOUT = {
    KIND: "What kind of product it is, by the model's sub-categories.",
    FEATURES: "What it looks like to the model beyond its labels: cut, pattern, material.",
    COLOR: "Which colors it has, and how much of each.",
}

_MODEL_SERVER = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        "The model server has too much to do; ask again in a moment."
    ),
    grpc.StatusCode.UNAUTHENTICATED: (
        "The model server wants an API key that this app was not given; its keeper starts it with "
        "--api-key-file."
    ),
}
_SERVER_IS_AWAY = (
    "The model server does not answer; ask again in a moment. Products can be searched for by "
    "their ids meanwhile."
)


class _AnyText(Convertor[str]):
    """A path's rest, whatever is in it: ids have slashes, and line breaks."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _AnyText())


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(
            content, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode("utf-8", "backslashreplace")


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": "JPEG, PNG, WebP, GIF or BMP, at most 20 MB.",
                        }
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["id"],
                    "additionalProperties": False,
                    "properties": {"id": {"type": "string", "description": "A product's id."}},
                    "example": {"id": "15970"},
                }
            },
        },
    }
}
_PICTURE_ONLY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _BODY["requestBody"]["content"]["multipart/form-data"]},
    }
}


def make_app(models: Models, *, local_only: bool = True) -> Guard:
    """Makes the application.

    Args:
        models: what is searched; started and closed by the caller, in the same event loop.
        local_only: only this machine is to reach it, so that requests for another host's name,
            which some page on the net had its own name lead here for, are refused.
    """
    app = FastAPI(
        title="Seamline's search",
        summary="Products that look like a picture, of a catalog that a model was trained on.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        default_response_class=_Json,
        dependencies=[Depends(_once_each)],
        responses={
            status: {"model": answers.Error, "description": said}
            for status, said in answers.STATUSES.items()
        }
        | {"default": {"model": answers.Error, "description": "The server failed."}},
    )
    _add_routes(app, models, Uploads(MOST_ANSWERED, MOST_HELD_BYTES))
    _add_page(app)
    app.add_exception_handler(UserError, _refusal)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failure)
    return Guard(app, local_only=local_only)


def _add_routes(app: FastAPI, models: Models, uploads: Uploads) -> None:
    @app.get("/api/models", response_model=None, tags=["catalog"], **_answer(answers.Models))
    async def list_models(asked: Annotated[parameters.Nothing, Query()]) -> Response:
        """The models that can be searched by, their versions, blocks, fields and labels."""
        told = [await _told(models, model) for model in models.all]
        return _Json({"models": told, "default": models.default})

    @app.get("/api/facets", tags=["catalog"], **_answer(answers.Facets))
    async def facets(asked: Annotated[parameters.Facets, Query()]) -> Response:
        """Every field's values with their counts, under the filters on the other fields."""
        where = asked.filters

        async def count(finder: Finder) -> dict[str, Any]:
            products, counted = await finder.facets(where)
            return {
                "count": products,
                "fields": {
                    name: {
                        "values": [
                            {"value": value, "count": count}
                            for value, count in facet.counts.items()
                        ],
                        "more": facet.more,
                    }
                    for name, facet in counted.items()
                },
            }

        return _Json(await models.ask(asked.model, asked.version, count))

    @app.post("/api/search", tags=["search"], openapi_extra=_BODY, **_answer(answers.Found))
    async def search(request: Request, asked: Annotated[parameters.Search, Query()]) -> Response:
        """The products that look like a picture, or like a product, nearest first.

        A product that is asked about is left out, and so are its near-duplicates. The parts of a
        score are what each block adds to it.
        """
        question, crop = asked.question, asked.part
        async with uploads.received(request) as (picture, id_):
            began = time.perf_counter()
            what = Asked(picture, id_, crop)
            found = await models.ask(
                asked.model, asked.version, lambda finder: finder.find(what, question)
            )
            return _Json(found.to_dict() | {"took_ms": _ms_since(began)})

    @app.post(
        "/api/predict", tags=["search"], openapi_extra=_PICTURE_ONLY, **_answer(answers.Predicted)
    )
    async def predict(request: Request, asked: Annotated[parameters.Part, Query()]) -> Response:
        """What the model sees in a picture: its likeliest labels."""
        crop = asked.part

        async def see(finder: Finder) -> dict[str, Any]:
            return {
                "seen": await finder.see(picture or b"", crop),
                "model": finder.model,
                "version": finder.version,
            }

        async with uploads.received(request, takes_id=False) as (picture, _):
            return _Json(await models.ask(asked.model, asked.version, see))

    @app.post("/api/explain", tags=["search"], openapi_extra=_BODY, **_answer(answers.Explained))
    async def explain_(request: Request, asked: Annotated[parameters.Explain, Query()]) -> Response:
        """Why a product looks like a picture: the blocks' parts, and where in both they come from.

        `features.map` is what each place adds to the features' part of the score, which is its sum;
        `label.map` how far each place speaks for the label.
        """
        crop, weights = asked.part, asked.weights
        async with uploads.received(request) as (picture, id_):
            what = Asked(picture, id_, crop)
            return _Json(
                await models.ask(
                    asked.model,
                    asked.version,
                    lambda finder: explain(finder, what, asked.result, weights, asked.label),
                )
            )

    @app.get("/api/products/{id_:any}", tags=["catalog"], **_answer(answers.Product))
    async def product(id_: str, asked: Annotated[parameters.Model, Query()]) -> Response:
        """A product's fields, and which are its near-duplicates."""

        async def tell(finder: Finder) -> dict[str, Any]:
            index = finder.catalog.index
            fields, group = await finder.looked_up(index.product, id_)
            doubles = await finder.looked_up(index.doubles, id_)
            return {"id": id_, "fields": fields, "group": group, "doubles": doubles}

        return _Json(await models.ask(asked.model, asked.version, tell))

    @app.get(
        "/api/images/{id_:any}",
        tags=["catalog"],
        response_class=Response,
        responses={200: {"content": {"image/*": {}}, "description": "The picture."}},
    )
    async def image(
        request: Request, id_: str, asked: Annotated[parameters.Model, Query()]
    ) -> Response:
        """A product's picture, as the model saw it."""

        async def read(finder: Finder) -> bytes:
            return await finder.done(finder.catalog.picture, id_)

        content = await models.ask(asked.model, asked.version, read)
        tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
        # A version's pictures never change; which version is asked where none is named may.
        lasting = "max-age=86400, immutable" if asked.version is not None else "no-cache"
        headers = {"etag": tag, "cache-control": f"private, {lasting}"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type(content))

    @app.get("/healthz", tags=["state"], response_class=PlainTextResponse)
    async def healthz() -> Response:
        """Whether the app is alive."""
        return PlainTextResponse("ok")

    @app.get("/readyz", tags=["state"], response_class=PlainTextResponse)
    async def readyz() -> Response:
        """Whether pictures can be searched for by any model."""
        if models.problem:
            raise Refused(AWAY, models.problem)
        return PlainTextResponse("ready")


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    app.mount("/static", StaticFiles(directory=PAGE, check_dir=False), name="static")


async def _told(models: Models, model: Model) -> dict[str, Any]:
    """A model as `GET /api/models` tells it."""
    answering = model.answering or frozenset()
    told: dict[str, Any] = {
        "name": model.name,
        "version": None,
        "versions": [
            {
                "version": version.number,
                "products": version.products,
                "live": version.number in answering,
            }
            for version in model.versions.values()
        ],
        "products": 0,
        "blocks": [],
        "fields": [],
        "exact": True,
        "engine": None,
        "ready": model.is_ready,
        "problem": model.problem or None,
        "labels": {},
        "explains": False,
    }
    version = model.current
    if version is None or version.finder is None:
        return told
    finder, products = version.finder, version.products
    # What is wrong then is among what is told already, or will be.
    with contextlib.suppress(IndexAway, DamagedIndex):
        products = await finder.looked_up(finder.catalog.index.count)
    catalog = finder.catalog
    weights = catalog.index.space.weights
    return told | {
        "version": version.number,
        "products": products,
        "blocks": [
            {"name": name, "weight": weight, "about": _about(name)}
            for name, weight in weights.items()
        ],
        "fields": catalog.index.fields,
        "exact": catalog.index.is_exact,
        "engine": catalog.index.engine,
        "labels": catalog.recipe.labels,
        "explains": await models.explains(model),
    }


def _about(name: str) -> str:
    return _ABOUT.get(name, f"What the model says of its {name}.")


def _answer(model: type[Any]) -> dict[str, Any]:
    """How a route's answer is described; it is sent as it is, without a look at it."""
    return {"responses": {200: {"model": model, "description": "The answer."}}}


def _ms_since(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 2)


async def _once_each(request: Request) -> None:
    """Makes sure that what is asked for once is there once.

    Raises:
        Refused: it is there twice, and only one would count.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    if doubled := sorted(name for name in counts.keys() - _REPEATED if counts[name] > 1):
        raise Refused(BAD_REQUEST, f'The parameter "{doubled[0]}" is there more than once.')


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)
    sentence = str(error)
    if isinstance(error, RequestFailed):
        _log.warning("%s %s: %s", request.method, request.url.path, error)
        code = error.code
        if code is grpc.StatusCode.PERMISSION_DENIED:
            code = grpc.StatusCode.UNAUTHENTICATED
        sentence = _MODEL_SERVER.get(code, _SERVER_IS_AWAY) if code else _SERVER_IS_AWAY
    return _told_refusal(status_of(error), sentence)


async def _bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _told_refusal(BAD_REQUEST, parameters.sentence(error.errors()[0]))


async def _failure(request: Request, error: Exception) -> Response:
    # What it was is logged by the guard, which it comes to afterwards.
    return _told_refusal(500, "The app failed; its log says more.")


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == NOT_FOUND:
        return _told_refusal(NOT_FOUND, "There is nothing here; /openapi.json says what there is.")
    response = _told_refusal(error.status_code, f"{error.detail}.")
    response.headers.update(error.headers or {})
    return response


def _told_refusal(status: int, sentence: str) -> Response:
    headers = {"retry-after": "1"} if status in (TOO_MANY, AWAY) else {}
    return _Json({"detail": sentence}, status, headers)
