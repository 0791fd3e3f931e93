"""What may stand in a query: names, bounds and meaning of its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.app.errors import BAD_REQUEST, Refused
from serving.app.joint_searches import Question
from serving.app.pictures import Crop

if TYPE_CHECKING:
    # Python 3.10 does not have it.
    from typing import Self

MOST_REPEATED = 500
"""So many filters, exclusions and weights a request may have."""

MOST_RESULTS = 1000
MOST_WEIGHT = 1000.0
_LONGEST = 1000

Text = Annotated[str, Field(max_length=_LONGEST)]
Several = Annotated[list[Text], Field(max_length=MOST_REPEATED)]


class Nothing(BaseModel):
    """What takes no parameters."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The same from elsewhere than a query.

        Raises:
            Refused: something of it is not within its bounds.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            problem = error.errors()[0]
            told = sentence({**problem, "loc": ("query", *problem["loc"])})
            raise Refused(BAD_REQUEST, told) from None


class Model(Nothing):
    """Which model, and which of its versions."""

    model: Text | None = Field(
        None,
        description="The model to ask; `GET /api/models` names the default.",
        examples=["catalog"],
    )
    version: int | None = Field(
        None, ge=0, lt=2**63, description="The version to ask; the newest that answers by default."
    )


class Facets(Model):
    """Which products are counted."""

    where: Several = Field(
        default_factory=list,
        description="`field=value`: only products with this value. The same field again: any of "
        "its values; several fields: all of them.",
        examples=[["gender=Women", "season=Summer", "season=Spring"]],
    )

    @property
    def filters(self) -> dict[str, tuple[str, ...]]:
        """The values of each field.

        Raises:
            Refused: one is not `field=value`.
        """
        return filters(self.where)


class Part(Model):
    """Which part of the picture is looked at."""

    crop: Text | None = Field(
        None,
        description="`left,top,width,height`: only this part of the upright picture, in shares of "
        "its width and height.",
        examples=["0.25,0.1,0.5,0.8"],
    )

    @property
    def part(self) -> Crop | None:
        """The part; None for all of it.

        Raises:
            Refused: it is none.
        """
        return None if self.crop is None else Crop.parse(self.crop)


class Weighted(Part):
    """What counts, and how much."""

    weight: Several = Field(
        default_factory=list,
        description="`block=number`: how much a block counts, where it differs from the model's "
        "own weights; see `GET /api/models`.",
        examples=[["colour=0.6"]],
    )

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each block that is named.

        Raises:
            Refused: one is not `block=number`.
        """
        return weights(self.weight)


class Search(Weighted, Facets):
    """What is looked for, besides the picture."""

    k: int = Field(15, ge=1, le=MOST_RESULTS, description="How many results.")
    exclude: Several = Field(default_factory=list, description="Ids that must not be found.")
    fold: bool = Field(True, description="Of near-duplicates, show only the nearest.")
    exact: bool = Field(False, description="Compare every product, whatever it takes.")
    expand: bool = Field(
        False, description="Search a second time, from between the picture and what looks like it."
    )

    @property
    def question(self) -> Question:
        """The same, for `JointSearches`.

        Raises:
            Refused: a filter or a weight is none.
        """
        return Question(
            k=self.k,
            where=self.filters,
            exclude=frozenset(self.exclude),
            weights=self.weights,
            fold=self.fold,
            exact=self.exact,
            expand=self.expand,
        )


class Explain(Weighted):
    """What is compared."""

    result: Text | None = Field(None, description="The id of the product to compare with.")
    label: Text | None = Field(
        None,
        description="`LEVEL=LABEL`: show as well which places speak for this label.",
        examples=["subcategory=Shirts"],
    )


def sentence(problem: Mapping[str, Any]) -> str:
    """What Pydantic found in a query, for people."""
    name = str(problem["loc"][1]) if len(problem["loc"]) > 1 else "query"
    if problem["type"] == "extra_forbidden":
        return f'There is no parameter "{name[:80]}"; /openapi.json says which there are.'
    found = str(problem.get("input"))[:80]
    if problem["type"] == "too_long":
        return f'There are too many of "{name}"; at most {MOST_REPEATED} are taken.'
    said = str(problem["msg"])
    return f'The parameter "{name}" is "{found}"; {said[0].lower()}{said[1:]}.'


def filters(where: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values of each field, of texts `field=value`.

    Raises:
        Refused: one is not like that.
    """
    wanted: dict[str, tuple[str, ...]] = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise Refused(
                BAD_REQUEST,
                f'The filter is "{text[:80]}"; expected field=value, such as gender=Women.',
            )
        if value not in wanted.get(name, ()):
            wanted[name] = (*wanted.get(name, ()), value)
    return wanted


def weights(weight: Iterable[str]) -> dict[str, float]:
    """The weight of each block, of texts `block=number`.

    Raises:
        Refused: one is not like that, or a block is there twice.
    """
    wanted: dict[str, float] = {}
    for text in weight:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (name and 0 <= value <= MOST_WEIGHT):
            raise Refused(
                BAD_REQUEST,
                f'The weight is "{text[:80]}"; expected block=number with a number from 0 to '
                f"{MOST_WEIGHT:g}, such as colour=0.6.",
            )
        if name in wanted:
            raise Refused(BAD_REQUEST, f'The block "{name}" is weighed twice; weigh it once.')
        wanted[name] = value
    return wanted
