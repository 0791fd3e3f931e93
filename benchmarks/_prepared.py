"""A catalog as training finds it: Examples and Transform graph, by the pipeline's own steps."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from tfx.components.trainer.fn_args_utils import FnArgs

from benchmarks import _catalog
from pipeline.config import Config
from pipeline.console import StepsView
from pipeline.local_runner import ObservedLocalDagRunner, local_pipeline
from pipeline.workspace import Workspace
from trainer.splits import Splits


def parser(description: str) -> argparse.ArgumentParser:
    """What the benchmarks of the training have in common on their command lines."""
    common = _catalog.parser(description)
    common.add_argument(
        "--workspace", type=Path, help="keeps the Examples for the next time; else thrown away"
    )
    return common


@contextmanager
def prepared(arguments: argparse.Namespace) -> Iterator[tuple[Config, Splits]]:
    """The config, and the splits that the pipeline's steps up to Transform make of its catalog."""
    with _catalog.configured(arguments) as (config, scratch):
        workspace = Workspace(arguments.workspace or scratch / "workspace")
        workspace.create()
        with workspace.locked(), StepsView(Console(stderr=True)) as view:
            runner = ObservedLocalDagRunner(view, last="Transform")
            runner.run(local_pipeline(config, workspace))
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
