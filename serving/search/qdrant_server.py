"""A Qdrant that indexes were brought to, as an app that searches them there sees it.

It can be imported without Qdrant's client, which is asked for where a server is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schema import features
from schema.errors import UserError
from serving.search.catalog import (
    MODEL_KEY,
    RECIPE_KEY,
    IndexedCatalog,
    Pictures,
    model_mark,
)
from serving.search.errors import DamagedIndex
from serving.search.recipe import Recipe

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from serving.search.qdrant_index import QdrantIndex

API_KEY_VARIABLE = "SEAMLINE_QDRANT_API_KEY"
"""The environment variable that may hold Qdrant's API key."""

_TIMEOUT_S = 10


class QdrantServer:
    """See the module.

    Args:
        url: where it answers.
        alias: what the collection is asked by; each model's name by default, as for a push.
        api_key: its own; None for none.

    Attributes:
        client: asks it.

    Raises:
        UserError: its client is not installed, or the URL is none.
    """

    def __init__(self, url: str, alias: str | None = None, api_key: str | None = None):
        try:
            from qdrant_client import QdrantClient
        except ImportError:
            raise UserError(
                "Qdrant's client is not installed. Install it with `pip install "
                "'seamline[search-qdrant]'`."
            ) from None
        try:
            # Whether the versions fit is asked at once, and one that is away may come back.
            self.client: QdrantClient = QdrantClient(
                url, api_key=api_key, timeout=_TIMEOUT_S, check_compatibility=False
            )
        except ValueError as error:
            raise UserError(f"{url} is no address of a Qdrant: {error}.") from error
        self._alias = alias

    def alias(self, model: str) -> str:
        """What the collection of a model's index is asked by."""
        return self._alias or model

    def collections(self) -> dict[str, str]:
        """The collection that each alias names at this moment.

        Raises:
            IndexAway: Qdrant does not answer.
        """
        from serving.search.qdrant_index import aliases

        return aliases(self.client)

    def catalog(
        self, model: str, version: Path, collection: str | None
    ) -> IndexedCatalog[QdrantIndex]:
        """A pushed version's catalog, whose products are searched in a collection.

        The collection is asked by its own name. So it stays the one that was held against the
        version, whatever the alias comes to name.

        Args:
            model: the model's name.
            version: the version's folder, which has the recipe and the pictures.
            collection: what the alias names; None where it names nothing.

        Raises:
            DamagedIndex: there is no such collection, it is of another model or made otherwise, or
                what the version's folder should have is missing or damaged.
            IndexAway: Qdrant does not answer.
        """
        from serving.search.qdrant_index import QdrantIndex

        alias = self.alias(model)
        named = "" if alias == model else f" --alias {alias}"
        remedy = (
            f"`seamline index push WORKSPACE QDRANT_URL --model {model} --version {version.name}"
            f"{named}` brings it there"
        )
        if collection is None:
            raise DamagedIndex(f'Qdrant has no index that is called "{alias}"; {remedy}.')
        folder = version / features.INDEX_FOLDER
        recipe = Recipe.open(folder)
        index = QdrantIndex(self.client, collection)
        marks = {MODEL_KEY: model_mark(version), RECIPE_KEY: recipe.mark}
        if {key: index.made_by.get(key) for key in marks} != marks:
            raise DamagedIndex(
                f'The index that Qdrant calls "{alias}" is not the one of version {version.name} '
                f"of {model}; {remedy}."
            )
        return IndexedCatalog(index, recipe, Pictures(folder))

    def close(self) -> None:
        """Ends the connections."""
        self.client.close()
