"""What can be said of a catalog at once, before anything heavy is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from components.catalog_example_gen import folder
from components.catalog_example_gen.corrections import read_corrections
from components.catalog_example_gen.rejects import printable
from components.catalog_example_gen.rows import Columns
from components.catalog_example_gen.sources import Source, source_of
from components.storage import check_readable, is_url
from schema.errors import UserError


def check_catalog(catalog: Mapping[str, Any], split: Mapping[str, Any]) -> None:
    """Looks at the folders, the CSV's header or the annotation files, and the first rows.

    Args:
        catalog: The config's section `catalog` as a plain dict.
        split: The config's section `split` as a plain dict.

    Raises:
        UserError: A folder, a file, a column or every picture is missing, there are no two
            categories, or the corrections are none.
    """
    source = source_of(catalog, split)
    images = os.path.join(catalog["folder"], catalog["images"])
    check_folders(catalog["folder"], source, images, catalog["links"])
    source.glance()
    if catalog.get("corrections"):
        read_corrections(catalog["corrections"], Columns.from_options(catalog, split))


def check_folders(catalog_folder: str, source: Source, images: str, links: bool = False) -> None:
    """Looks for the folders, the files of rows and a first picture.

    Args:
        catalog_folder: The catalog's.
        source: Where its rows come from.
        images: Folder of pictures.
        links: Whether links may lead out of it.

    Raises:
        UserError: One of them is not there, or their bucket cannot be read.
    """
    check_readable(catalog_folder)
    for path, option in ((catalog_folder, "folder"), (images, "images")):
        # Object stores have files alone: whether a picture is there is looked at below.
        if not is_url(path) and not os.path.isdir(path):
            state = "is a file, not a folder" if os.path.exists(path) else "is not there"
            raise UserError(f"The folder {path} {state}. Check `catalog.{option}` in the config.")
    source.check()
    skipped = folder.SkippedLinks()
    if not any(file.is_picture for file in folder.files_below(images, links, skipped)):
        hint = ""
        if skipped.folders.count:
            hint = (
                f"Links to folders are not followed, as is {printable(skipped.folders.first[0])}: "
                "set `catalog.links` to true if they shall be, or check"
            )
        elif skipped.dangling.count:
            hint = (
                f"There are links that lead nowhere, as {printable(skipped.dangling.first[0])}: "
                "fetch what they lead to (`dvc checkout`, `git annex get`), or check"
            )
        raise UserError(
            f"There is no picture below {images} (jpg, png, webp, gif or bmp). "
            f"{hint or 'Check'} `catalog.images` in the config."
        )
