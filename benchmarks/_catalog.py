"""The catalog that a benchmark measures: its command line and its config.

Loads no TensorFlow, so that a benchmark of the ingest measures no more than the ingest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config import Config, load_config
from pipeline.demo_catalog import draw_demo_catalog
from schema.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
DRAWN_PRODUCTS = 2_000


def parser(description: str) -> argparse.ArgumentParser:
    """What the benchmarks have in common on their command lines."""
    common = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common.add_argument("config", nargs="?", type=Path, help="a catalog's YAML; drawn without it")
    common.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE")
    common.add_argument(
        "--rounds", type=int, default=5, help="how often all is measured (default: %(default)s)"
    )
    return common


@contextmanager
def configured(arguments: argparse.Namespace) -> Iterator[tuple[Config, Path]]:
    """The config, and a folder that lives as long; what a user can mend ends in one line."""
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        try:
            if arguments.config:
                config = load_config(arguments.config, arguments.set)
            else:
                drawn = draw_demo_catalog(scratch / "catalog", products=DRAWN_PRODUCTS)
                overrides = [f"catalog.folder={drawn.folder}", *arguments.set]
                config = load_config(ROOT / "pipeline" / "configs" / "demo.yaml", overrides)
            yield config, scratch
        except UserError as error:
            sys.exit(f"error: {error}")
