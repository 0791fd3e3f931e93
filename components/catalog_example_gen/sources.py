"""Where a catalog's rows come from: a CSV, or the annotation files of DeepFashion."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from components import storage
from components.catalog_example_gen import folder
from components.catalog_example_gen.deepfashion import COLUMNS_OF_FORMAT, DeepFashion
from components.catalog_example_gen.rejects import printable
from components.catalog_example_gen.rows import Columns, Row, Survey, glance, read_rows, survey
from schema.errors import UserError

CSV = "csv"
"""The format that is not DeepFashion's."""


class Source(Protocol):
    """What the ingest asks; travels to every worker."""

    @property
    def name(self) -> str:
        """What messages call it: a path."""

    @property
    def files(self) -> list[str]:
        """Paths of all files that are read."""

    def check(self) -> None:
        """Raises a UserError if a file is not there."""

    def glance(self) -> None:
        """Reads as little as tells what `survey` would refuse at once."""

    def survey(self) -> Survey:
        """Reads everything once: see `rows.survey`."""

    def rows(
        self, domains: Mapping[str, Sequence[str]], seed: int, eval_part: float
    ) -> Iterator[Row]:
        """Every row, as `rows.read_rows` yields them.

        Args:
            domains: The allowed labels of the levels that the schema closes.
            seed: Of the split.
            eval_part: The part of what is learned from that is to choose instead, for a source
                that gives its own split and leaves that one open.
        """


def source_of(catalog: Mapping[str, Any], split: Mapping[str, Any]) -> Source:
    """The source that the config's sections `catalog` and `split`, plain dicts, describe."""
    columns = Columns.from_options(catalog, split)
    if catalog["format"] in COLUMNS_OF_FORMAT:
        return DeepFashion(
            name=catalog["folder"],
            format=catalog["format"],
            encoding=catalog["encoding"],
            columns=columns,
            crop=catalog["crop"],
        )
    return Csv(
        name=os.path.join(catalog["folder"], catalog["labels_csv"]),
        encoding=catalog["encoding"],
        columns=columns,
        delimiter=catalog["delimiter"],
    )


def fingerprint(catalog: Mapping[str, Any], split: Mapping[str, Any]) -> str:
    """Changes when a file that an ingest reads changes, comes or goes: see `folder.fingerprint`.

    Args:
        catalog: The config's section `catalog`, a plain dict.
        split: The config's section `split`, a plain dict.

    Raises:
        UserError: A folder of pictures cannot be listed.
    """
    files = source_of(catalog, split).files
    if catalog.get("corrections"):
        files = [*files, catalog["corrections"]]
    images = os.path.join(catalog["folder"], catalog["images"])
    return folder.fingerprint(files, images, catalog["links"])


@dataclass(frozen=True)
class Csv:
    """A CSV with a header; its path is its name."""

    name: str
    encoding: str
    columns: Columns
    delimiter: str = ","

    @property
    def files(self) -> list[str]:  # noqa: D102 As `Source`, like all below.
        return [self.name]

    def check(self) -> None:  # noqa: D102
        if not storage.is_file(self.name):
            found = storage.names(os.path.dirname(self.name), ".csv")
            raise UserError(
                f"There is no file {self.name}; the folder has "
                f"{printable(', '.join(found)) or 'no CSV file'}."
                " Check `catalog.labels_csv` in the config."
            )

    def glance(self) -> None:  # noqa: D102
        with self._readable() as file:
            glance(file, self.encoding, self.columns, self.name, self.delimiter)

    def survey(self) -> Survey:  # noqa: D102
        with self._readable() as file:
            return survey(file, self.encoding, self.columns, self.name, self.delimiter)

    def rows(  # noqa: D102
        self, domains: Mapping[str, Sequence[str]], seed: int, eval_part: float
    ) -> Iterator[Row]:
        del seed, eval_part
        with self._readable() as file:
            yield from read_rows(
                file, self.encoding, self.columns, domains, self.name, self.delimiter
            )

    def _readable(self) -> IO[bytes]:
        try:
            return storage.opened(self.name)
        except OSError as error:
            raise UserError(
                f"{self.name} cannot be read: {error.strerror or error}. "
                "Check that you may read it."
            ) from error
