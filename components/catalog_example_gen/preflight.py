"""What can be said of a catalog at once, before anything heavy is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from components.catalog_example_gen import folder
from components.catalog_example_gen.rows import Columns, glance
from schema.errors import UserError


def check_catalog(catalog: Mapping[str, Any]) -> None:
    """Looks at the folders, the CSV's header and its first rows.

    Args:
        catalog: The config's section `catalog` as a plain dict, its folder a local path.

    Raises:
        UserError: A folder, the CSV, a column or every picture is missing, or there are no two
            categories.
    """
    labels_csv = os.path.join(catalog["folder"], catalog["labels_csv"])
    images = os.path.join(catalog["folder"], catalog["images"])
    check_folders(catalog["folder"], labels_csv, images)
    try:
        with open(labels_csv, "rb") as file:
            glance(file, catalog["encoding"], Columns.from_options(catalog), labels_csv)
    except OSError as error:
        raise UserError(
            f"{labels_csv} cannot be read: {error.strerror}. Check that you may read it."
        ) from error


def check_folders(catalog_folder: str, labels_csv: str, images: str) -> None:
    """Looks for the folders, the CSV and a first picture.

    Raises:
        UserError: One of them is not there.
    """
    for path, option in ((catalog_folder, "folder"), (images, "images")):
        if not os.path.isdir(path):
            state = "is a file, not a folder" if os.path.exists(path) else "is not there"
            raise UserError(f"The folder {path} {state}. Check `catalog.{option}` in the config.")
    if not os.path.isfile(labels_csv):
        found = sorted(name for name in os.listdir(catalog_folder) if name.endswith(".csv"))
        raise UserError(
            f"There is no file {labels_csv}; the folder has {', '.join(found) or 'no CSV file'}. "
            "Check `catalog.labels_csv` in the config."
        )
    if not any(file.is_picture for file in folder.files_below(images)):
        raise UserError(
            f"There is no picture below {images} (jpg, png, webp, gif or bmp). "
            "Check `catalog.images` in the config."
        )
