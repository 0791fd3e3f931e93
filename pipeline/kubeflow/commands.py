"""`seamline compile` and `seamline submit`, as people see them."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from components.catalog_example_gen.preflight import check_catalog
from components.storage import check_readable, check_writable, write_whole
from pipeline.config import Config
from pipeline.kubeflow.again import recurring
from pipeline.kubeflow.spec import Spec, compiled, is_seen
from pipeline.kubeflow.submit import TOKEN, Host
from schema.errors import UserError

_STYLES = {"SUCCEEDED": "green", "FAILED": "red", "SKIPPED": "dim", "RUNNING": "cyan"}


def compile_to(output: Path, config: Config, image: str | None, look_up: bool) -> None:
    """Writes what the backend takes into a file, and tells what it stands for.

    Raises:
        UserError: see `spec.compiled`; or the ledger is asked, and its bucket cannot be read.
    """
    if look_up and config.kubeflow.root:
        check_readable(config.kubeflow.root)
    spec = compiled(config, image, look_up=look_up)
    write_whole(str(output.absolute()), spec.to_yaml().encode())
    console = Console()
    steps = len(spec.pipeline["root"]["dag"]["tasks"])
    console.print(f"{spec.name}: {steps} steps in {output}", highlight=False)
    _tell(console, config, spec, look_up)
    console.print(
        "Artifacts, ledger and versions will lie below "
        f"{config.kubeflow.root}; name {spec.root} as the run's pipeline root, or let "
        "`seamline submit` do it.",
        highlight=False,
        soft_wrap=True,
    )


def submit(
    config: Config,
    host: str,
    image: str | None,
    *,
    namespace: str | None = None,
    follow: bool = False,
    schedule: str | None = None,
) -> None:
    """Starts a run, or has runs started again and again.

    Raises:
        UserError: An option is missing, the catalog is no catalog, the backend refuses, or a run
            that is followed does not end well.
    """
    if image:
        options = config.kubeflow.model_copy(update={"image": image})
        config = config.model_copy(update={"kubeflow": options})
    if is_seen(config):
        check_catalog(config.catalog.model_dump(), config.split.model_dump())
    if config.kubeflow.root:
        check_writable(config.kubeflow.root)
    console = Console()
    cluster = Host(host, namespace, os.environ.get(TOKEN))
    spec = compiled(config)
    if schedule:
        made = cluster.repeat(recurring(config, spec.name, namespace), spec.name, schedule)
        console.print(f"{spec.name} starts by itself ({schedule}): {made}", highlight=False)
        return
    _tell(console, config, spec, looked_up=True)
    run = cluster.start(spec)
    console.print(f"started: {run.page}", highlight=False, soft_wrap=True)
    if not follow:
        return

    def tell(task: str, state: str) -> None:
        console.print(f"{task:<22} [{_STYLES.get(state, 'default')}]{state.lower()}[/]")

    state = cluster.follow(run, tell)
    if state != "SUCCEEDED":
        raise UserError(
            f"The run ended as {state.lower()}. The step that failed says why in its log: "
            f"{run.page}."
        )


def _tell(console: Console, config: Config, spec: Spec, looked_up: bool) -> None:
    """What an earlier run has to do with this one, and what nobody could see from here."""
    for step, uri in spec.looked_up.items():
        console.print(f"{step:<22} {uri}", highlight=False, soft_wrap=True)
    if not looked_up:
        console.print("The ledger was not asked: no earlier run is compared with.")
    elif not spec.looked_up:
        console.print("The ledger knows of no earlier run to compare with.")
    if not spec.seen:
        console.print(
            f"The catalog {config.catalog.folder} is not seen from here, so every run ingests it "
            "anew.",
            highlight=False,
            soft_wrap=True,
        )
