"""What the API answers, for its description: `GET /openapi.json`."""

from __future__ import annotations

from pydantic import BaseModel, Field

Cell = str | list[str] | None

STATUSES = {
    400: "A parameter, a filter or the picture makes no sense.",
    404: "There is no such product, model or version.",
    413: "The picture is too large.",
    415: "The body is neither a picture nor JSON.",
    429: "Too many ask at the same time.",
    503: "The model server or the index's engine is away, or the index is damaged.",
}


class Error(BaseModel):
    """Why a request is not answered."""

    detail: str = Field(description="One sentence.", examples=['There is no field "size".'])


class Version(BaseModel):
    """A version with an index."""

    version: int
    products: int
    live: bool = Field(description="Whether the model server answers with it.")


class Block(BaseModel):
    """What pictures are compared by."""

    name: str = Field(examples=["colour"])
    weight: float = Field(description="How much it counts where nobody says otherwise.")
    about: str


class Model(BaseModel):
    """A model that can be searched by."""

    name: str = Field(examples=["catalog"])
    version: int | None = Field(description="The one that answers where none is named.")
    versions: list[Version] = Field(description="Newest first.")
    products: int
    blocks: list[Block]
    fields: list[str] = Field(description="What can be filtered by.", examples=[["gender"]])
    exact: bool = Field(description="Whether every search compares all products.")
    engine: str | None = Field(description="What finds the products.", examples=["FAISS"])
    ready: bool = Field(description="Whether pictures can be searched for.")
    problem: str | None = Field(description="What is wrong, in one sentence.")
    labels: dict[str, list[str]] = Field(description="Each level's labels.")
    explains: bool = Field(description="Whether there are maps of where an answer comes from.")


class Models(BaseModel):
    """All models."""

    models: list[Model]
    default: str | None


class Value(BaseModel):
    """A field's value."""

    value: str
    count: int


class Facet(BaseModel):
    """A field's values, commonest first."""

    values: list[Value]
    more: int = Field(description="How many values are left out.")


class Facets(BaseModel):
    """Which values there are."""

    count: int = Field(description="Products that pass all filters.")
    fields: dict[str, Facet]


class Label(BaseModel):
    """A label and its probability."""

    label: str = Field(examples=["Shirts"])
    score: float


class Seen(BaseModel):
    """The likeliest labels of a level."""

    level: str = Field(examples=["subcategory"])
    labels: list[Label]


class Hit(BaseModel):
    """A product that was found."""

    id: str = Field(examples=["15970"])
    score: float
    parts: dict[str, float] = Field(description="What each block adds to the score.")
    fields: dict[str, Cell]
    group: str = Field(description="Near-duplicates have the same.")
    folded: int = Field(description="How many near-duplicates stand behind it.")


class AskedAbout(BaseModel):
    """What was asked about."""

    id: str | None
    fields: dict[str, Cell] | None
    seen: list[Seen] | None


class Found(BaseModel):
    """What was found."""

    results: list[Hit]
    model: str
    version: int
    exact: bool = Field(description="Whether nothing nearer can have been missed.")
    nothing_close: bool | None = Field(
        description="Whether even the first is not close; null where nobody knows what is."
    )
    query: AskedAbout
    took_ms: float


class Predicted(BaseModel):
    """What the model sees."""

    seen: list[Seen]
    model: str
    version: int


class FeatureMap(BaseModel):
    """What each place adds to the features' part of the score."""

    map: list[list[float]] = Field(description="Row by row, from the top.")
    sum: float


class LabelMap(BaseModel):
    """How far each place speaks for a label."""

    map: list[list[float]]


class Maps(BaseModel):
    """The maps of one picture."""

    features: FeatureMap | None
    label: LabelMap | None


class Compared(BaseModel):
    """The likeliest labels of both."""

    level: str
    query: list[Label]
    result: list[Label]


class Explained(BaseModel):
    """Why a product was found."""

    parts: dict[str, float] | None
    score: float | None
    query: Maps
    result: Maps | None
    compared: list[Compared]
    problem: str | None = Field(description="Why there are no maps; null where there are.")


class Product(BaseModel):
    """A product."""

    id: str
    fields: dict[str, Cell]
    group: str
    doubles: list[str] = Field(description="Its near-duplicates.")
