"""A catalog that can be searched, as a folder: its index, its recipe and its pictures.

    index/                  the products: see `serving.search.folder`
    recipe.json, whitening.npz    how their vectors were made: see `Recipe`
    pictures.bin            their encoded pictures, one after another
    pictures.npy, pictures.json   where each begins and its CRC-32C, and the ids in the same order

It lies beside the model whose answers the vectors are made of, in the model's version's folder
(`schema.features.INDEX_FOLDER`), so that both go live and away by one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import google_crc32c
import numpy as np

from schema import features
from serving.search.errors import DamagedIndex, UnknownProduct
from serving.search.faiss_index import FaissIndex
from serving.search.local_index import LocalIndex
from serving.search.product_index import ProductIndex
from serving.search.recipe import Recipe

MODEL_KEY = "model"
"""In the index's `made_by`: the SHA-256 of the model's graph, in hexadecimal."""

RECIPE_KEY = "recipe"
"""In the `made_by` of an index that lies elsewhere than its recipe: `Recipe.mark`."""

_INDEX, _PICTURES, _PLACES, _IDS = "index", "pictures.bin", "pictures.npy", "pictures.json"
_GRAPH = "saved_model.pb"
_BLOCK_BYTES = 1 << 20

Index_co = TypeVar("Index_co", bound=ProductIndex, covariant=True)


class Pictures:
    """Encoded pictures in a file, by product.

    Args:
        path: the folder that `write` wrote into.

    Raises:
        DamagedIndex: they are missing, or not what was written.
    """

    def __init__(self, path: Path):
        try:
            places = np.load(path / _PLACES, allow_pickle=False)
            if places.ndim != 2 or places.shape[0] != 2:
                raise ValueError(f"{_PLACES} has no checksums of them")
            self._starts, self._sums = places
            if places.dtype != np.int64 or self._starts[0] or (np.diff(self._starts) < 0).any():
                raise ValueError(f"{_PLACES} has them begin where they cannot")
            ids = json.loads((path / _IDS).read_text(encoding="utf-8"))
            self._rows = {id_: row for row, id_ in enumerate(ids)}
            self._file = (path / _PICTURES).open("rb")
            size = os.fstat(self._file.fileno()).st_size
            if len(ids) + 1 != len(self._starts) or size != self._starts[-1]:
                raise ValueError(f"{len(ids)} ids, {len(self._starts) - 1} pictures, {size} bytes")
        except (OSError, ValueError, EOFError, IndexError, TypeError) as error:
            raise DamagedIndex(
                f"The products' pictures in {path} cannot be read ({error}); build the index anew, "
                "or bring the folder back from a copy."
            ) from error

    def __getitem__(self, id_: str) -> bytes:
        """A product's encoded picture.

        Raises:
            UnknownProduct: there is none of it.
            DamagedIndex: it is not what was written.
        """
        row = self._rows.get(id_)
        if row is None:
            raise UnknownProduct(f'There is no picture of a product "{id_}".')
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        # Read, not mapped: a file that is mapped and cut would take the process with it.
        try:
            picture = os.pread(self._file.fileno(), end - start, start)
        except OSError:
            picture = b""
        if len(picture) != end - start or google_crc32c.value(picture) != self._sums[row]:
            raise DamagedIndex(
                f'The picture of the product "{id_}" is damaged; bring {_PICTURES} back from a '
                "copy, or build the index anew."
            )
        return picture

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @staticmethod
    def write(path: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
        """Writes encoded pictures, each with its product's id, into a folder."""
        ids, starts, sums = [], [0], []
        with (path / _PICTURES).open("wb") as file:
            for id_, picture in pictures:
                ids.append(id_)
                file.write(picture)
                starts.append(starts[-1] + len(picture))
                sums.append(google_crc32c.value(picture))
        np.save(path / _PLACES, np.array([starts, [*sums, 0]], np.int64))
        (path / _IDS).write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")


class IndexedCatalog(Generic[Index_co]):
    """See the module.

    Args:
        index: the products; the folder's, or what it was brought to, such as Qdrant.
        recipe: how their vectors were made.
        pictures: theirs.

    Attributes:
        index, recipe: as given.
    """

    def __init__(self, index: Index_co, recipe: Recipe, pictures: Pictures):
        self.index = index
        self.recipe = recipe
        self._pictures = pictures

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> IndexedCatalog[FaissIndex]:
        """Opens what `write` wrote.

        Args:
            path: the folder.
            verify: see `LocalIndex.open`.

        Raises:
            DamagedIndex: it is missing, incomplete, or not what was written.
        """
        path = Path(path)
        recipe = Recipe.open(path)
        index = FaissIndex.open(path / _INDEX, verify=verify)
        if index.space.sizes != recipe.space.sizes:
            raise DamagedIndex(
                f"The vectors in {path} are not made as its {Recipe.FILE} says; build the index "
                "anew, or bring the folder back from a copy."
            )
        return IndexedCatalog(index, recipe, Pictures(path))

    @classmethod
    def of_version(cls, version: Path) -> IndexedCatalog[FaissIndex]:
        """Opens what lies beside the model in a version's folder.

        Raises:
            DamagedIndex: it is missing, incomplete, or was made of another model's answers.
        """
        catalog = cls.open(version / features.INDEX_FOLDER)
        if catalog.index.made_by.get(MODEL_KEY) != model_mark(version):
            catalog.close()
            raise DamagedIndex(
                f"The index in {version} was made of another model's answers; push the model again "
                "with its own, or take the index away."
            )
        return catalog

    @staticmethod
    def write(
        path: Path | str,
        index: LocalIndex,
        recipe: Recipe,
        pictures: Iterable[tuple[str, bytes]],
    ) -> None:
        """Writes a folder.

        Args:
            path: the folder; made if it is not there.
            index: the products.
            recipe: how their vectors were made.
            pictures: each product's id and encoded picture.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        Pictures.write(path, pictures)
        recipe.save(path)
        index.save(path / _INDEX)

    def picture(self, id_: str) -> bytes:
        """A product's picture, encoded, as the model saw it.

        Raises:
            UnknownProduct: there is none of it.
        """
        return self._pictures[id_]

    def close(self) -> None:
        """Closes its files."""
        self._pictures.close()


def model_mark(version: Path | str) -> str:
    """What tells a SavedModel from all others: the SHA-256 of its graph, in hexadecimal.

    A pushed model's weights are constants of the graph.

    Raises:
        DamagedIndex: there is no model in the folder.
    """
    digest = hashlib.sha256()
    try:
        with (Path(version) / _GRAPH).open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise DamagedIndex(
            f"There is no model beside the index in {version} ({error.strerror}); push both "
            "together."
        ) from error
    return digest.hexdigest()
