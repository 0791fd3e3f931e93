"""A catalog as training finds it: Examples and Transform graph, by the pipeline's own steps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from tfx.components.trainer.fn_args_utils import FnArgs  # noqa: E402

from pipeline.config import Config, load_config  # noqa: E402
from pipeline.console import StepsView  # noqa: E402
from pipeline.demo_catalog import draw_demo_catalog  # noqa: E402
from pipeline.local_runner import ObservedLocalDagRunner  # noqa: E402
from pipeline.pipeline import create_pipeline  # noqa: E402
from pipeline.workspace import Workspace  # noqa: E402
from schema.errors import UserError  # noqa: E402
from trainer.splits import Splits  # noqa: E402

DRAWN_PRODUCTS = 2_000


def parser(description: str) -> argparse.ArgumentParser:
    """What the benchmarks of the training have in common on their command lines."""
    common = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    common.add_argument("config", nargs="?", type=Path, help="a catalog's YAML; drawn without it")
    common.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE")
    common.add_argument(
        "--workspace", type=Path, help="keeps the Examples for the next time; else thrown away"
    )
    common.add_argument("--rounds", type=int, default=5, help="how often all is measured")
    return common


@contextmanager
def prepared(arguments: argparse.Namespace) -> Iterator[tuple[Config, Splits]]:
    """The config, and the splits that the pipeline's steps up to Transform make of its catalog."""
    with TemporaryDirectory() as scratch:
        try:
            if arguments.config:
                config = load_config(arguments.config, arguments.set)
            else:
                drawn = draw_demo_catalog(Path(scratch) / "catalog", products=DRAWN_PRODUCTS)
                overrides = [f"catalog.folder={drawn.folder}", *arguments.set]
                config = load_config(ROOT / "pipeline" / "configs" / "demo.yaml", overrides)
            workspace = Workspace(arguments.workspace or Path(scratch) / "workspace")
            workspace.create()
            with workspace.locked(), StepsView(Console(stderr=True)) as view:
                runner = ObservedLocalDagRunner(view, last="Transform")
                runner.run(create_pipeline(config, workspace))
        except UserError as error:
            sys.exit(f"error: {error}")
        examples = runner.results["CatalogExampleGen"].outputs["examples"][0].uri
        graph = runner.results["Transform"].outputs["transform_graph"][0].uri
        yield (
            config,
            Splits.read(
                FnArgs(
                    train_files=[f"{examples}/Split-train/*"],
                    eval_files=[f"{examples}/Split-eval/*"],
                    transform_graph_path=graph,
                )
            ),
        )
