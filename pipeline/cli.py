"""The `seamline` command.

Heavy libraries are imported inside the commands that need them, so that `--help` and mistakes in a
config answer at once.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from pipeline.tables import metrics_tables, predictions_table
from schema.errors import UserError

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

NOT_BLESSED = 3
"""Exit status of a run whose model was trained and judged, and did not deserve to go live."""

app = typer.Typer(
    help="Reads a fashion catalog's pictures: trains, judges, serves and asks one model that names "
    "each product's category, sub-category and attributes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

schema_app = typer.Typer(
    help="Write a first schema of a catalog, or tell what changed in one.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(schema_app, name="schema")

WorkspaceArgument = Annotated[
    Path, typer.Argument(help="The folder that `seamline run` worked in.", metavar="WORKSPACE")
]
ConfigArgument = Annotated[Path, typer.Argument(help="The catalog's YAML file.", metavar="CONFIG")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Set one option; may be repeated."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the libraries' own output and tracebacks.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="Name of the served model (`serving.model_name`).")
]


def main() -> None:
    """Entry point of the console script."""
    app()


@contextmanager
def _clear_errors(verbose: bool = False) -> Iterator[None]:
    """Turns what a person can mend into one sentence and exit status 1."""
    try:
        yield
    except UserError as error:
        if verbose:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("Interrupted. Run the same command again to go on from the last finished step.", 130)
    except OSError as error:
        if verbose:
            raise
        where = f" ({error.filename})" if error.filename else ""
        remedy = (
            "Make room and run the same command again: finished steps and epochs are kept."
            if error.errno == errno.ENOSPC
            else "Run again with --verbose for the details."
        )
        with suppress(typer.Exit):
            _fail(f"{error.strerror or error}{where}. {remedy}")
        # Files that could not be written make native libraries crash while Python takes them down.
        sys.stdout.flush()
        os._exit(1)


def _fail(sentence: str, status: int = 1) -> None:
    message = Text.assemble(("error: ", "bold red"), sentence)
    Console(stderr=True).print(message, highlight=False, soft_wrap=True)
    raise typer.Exit(status)


@app.command("demo-catalog")
def demo_catalog(
    folder: Annotated[Path, typer.Argument(help="Folder to draw into.", metavar="DIR")],
    products: Annotated[int, typer.Option(min=1, help="How many products.")] = 800,
    seed: Annotated[int, typer.Option(help="Another seed draws other products.")] = 7,
    faults: Annotated[
        bool, typer.Option(help="Put a handful of deliberate faults into the catalog.")
    ] = True,
) -> None:
    """Draw a small catalog of garments with known truth.

    Example: `seamline demo-catalog demo/catalog`
    """
    from pipeline.demo_catalog import draw_demo_catalog

    with _clear_errors():
        catalog = draw_demo_catalog(folder, products=products, seed=seed, faults=faults)
        typer.echo(f"{products:,} products drawn: {catalog.folder / 'labels.csv'}")


@app.command()
def run(
    config: ConfigArgument,
    workspace: Annotated[
        Path | None,
        typer.Option(help="Folder for everything of these runs; `workspace/<name>` by default."),
    ] = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Ingest, check, train, judge, push and report.

    Steps whose inputs did not change are taken from the workspace; a killed run goes on where it
    was. Exit status: 0 the model was pushed or nothing had to be done, 1 something is wrong with
    the options or the data, 3 the model was not blessed.

    Example: `seamline run pipeline/configs/demo.yaml --set training.epochs=3`
    """
    with _clear_errors(verbose):
        from pipeline.config import load_config
        from pipeline.session import run_in_console
        from pipeline.workspace import Workspace

        options = load_config(config, overrides or [])
        place = Workspace((workspace or Path("workspace") / options.name).absolute())
        blessed = run_in_console(options, place, verbose)
    raise typer.Exit(0 if blessed else NOT_BLESSED)


@app.command()
def serve(
    workspace: WorkspaceArgument,
    port: Annotated[int, typer.Option(min=0, help="gRPC port; 0 takes any free one.")] = 8500,
    rest_port: Annotated[
        int | None,
        typer.Option(min=0, help="REST port; without it there is no REST."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    model: ModelName = "catalog",
    verbose: Verbose = False,
) -> None:
    """Serve what was pushed, with TensorFlow Serving's gRPC and REST interface.

    Newer versions are taken up as they are pushed. Ends with Ctrl-C.

    Example: `seamline serve workspace/demo --port 8500`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Service managers end a server with SIGTERM; it deserves the same good end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _clear_errors(verbose), ExitStack() as running:
        from pipeline.session import quiet_terminal
        from pipeline.workspace import Workspace

        place = Workspace(workspace.absolute())
        if not workspace.is_dir():
            raise UserError(
                f"There is no workspace {workspace}. `seamline run CONFIG` makes one and names it."
            )
        place.create()
        with quiet_terminal(place.log / "serve.log", verbose):
            from serving.model_server import ModelServer

            server = running.enter_context(
                ModelServer(
                    place.serving, model_name=model, port=port, rest_port=rest_port, host=host
                )
            )
        typer.echo(f"serving {model} on {server.endpoint}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.wait_for_termination()


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Picture files.", metavar="IMAGE...")],
    server: Annotated[str, typer.Option(help="HOST:PORT of the server's gRPC.")] = "localhost:8500",
    model: ModelName = "catalog",
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
    threshold: Annotated[float, typer.Option(help="Least score of a shown attribute.")] = 0.75,
    verbose: Verbose = False,
) -> None:
    """Name category, sub-category, extra labels and attributes of pictures, with scores.

    Example: `seamline predict shoe.jpg --server localhost:8500`
    """
    from serving.client import CatalogClient

    with _clear_errors(verbose):
        with CatalogClient(server, model_name=model, timeout_s=timeout_s) as client:
            predictions = client.predict(images)
        if as_json:
            for image, prediction in zip(images, predictions, strict=True):
                typer.echo(json.dumps({"image": str(image)} | prediction.to_dict()))
            return
        Console().print(predictions_table((i.name for i in images), predictions, threshold))


@app.command()
def metrics(
    workspace: WorkspaceArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the last run's metrics on the test part, overall and per slice.

    Example: `seamline metrics workspace/demo --json`
    """
    with _clear_errors():
        path = _report_file(workspace, "metrics.json")
        text = path.read_text(encoding="utf-8")
        if as_json:
            typer.echo(text)
        else:
            Console().print(metrics_tables(json.loads(text)))


@app.command()
def report(
    workspace: WorkspaceArgument,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Say where the last run's report is, or open it."""
    with _clear_errors():
        page = _report_file(workspace, "index.html")
        typer.echo(page)
        if open_it and not webbrowser.open(page.as_uri()):
            raise UserError(f"No browser could be started. Open {page} yourself.")


@app.command()
def demo(
    workspace: Annotated[
        Path, typer.Option(help="Folder for the drawn catalog and everything of its runs.")
    ] = Path("workspace/demo"),
    verbose: Verbose = False,
) -> None:
    """Draw a catalog, run the whole pipeline on it, serve the model and ask it.

    This is what `make demo` calls.
    """
    with _clear_errors(verbose):
        from pipeline.demo import run_demo

        blessed = run_demo(workspace.absolute(), verbose)
    raise typer.Exit(0 if blessed else NOT_BLESSED)


@schema_app.command("infer")
def schema_infer(
    config: ConfigArgument,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write; beside CONFIG and of its name by default."),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(help="Folder of the catalog's runs; `workspace/<name>` by default."),
    ] = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Write a first schema of a catalog: lists of labels, bounds of the pictures' figures.

    Reads the catalog as `seamline run` does, or takes the statistics of the last run if nothing has
    changed since. Look through what it closed before you name it in `catalog.schema_file`.

    Example: `seamline schema infer shop.yaml --output shop.pbtxt`
    """
    with _clear_errors(verbose):
        from pipeline.config import load_config
        from pipeline.session import measure_in_console
        from pipeline.workspace import Workspace
        from schema.catalog import catalog_schema, write_schema
        from schema.inference import infer_schema

        file = output or config.with_suffix(".pbtxt")
        if file.exists():
            raise UserError(
                f"{file} is there already. Name another file with --output, and see what changed "
                f"with `seamline schema diff {file} OTHER`."
            )
        options = load_config(config, overrides or [])
        # The schema's own lists would reject the very labels that are looked for.
        options.catalog.schema_file = None
        place = Workspace((workspace or Path("workspace") / options.name).absolute())
        statistics = measure_in_console(options, place, verbose)
        schema, sentences = infer_schema(catalog_schema(options.catalog.slices), statistics)
        products = sum(split.num_examples for split in statistics)
        origin = f"Inferred by `seamline schema infer` from {products:,} products of {config.name}"
        write_schema(schema, file, [f"{line}." for line in (origin, *sentences)])
        for sentence in sentences:
            typer.echo(f"{sentence}.")
        typer.echo(f"Written: {file}. Name it in {config} as catalog.schema_file.")


@schema_app.command("diff")
def schema_diff(
    before: Annotated[
        Path, typer.Argument(help="A schema, or a catalog's YAML file.", metavar="BEFORE")
    ],
    after: Annotated[
        Path | None,
        typer.Argument(help="The same; without it, CONFIG against its last run.", metavar="AFTER"),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(help="Folder of the catalog's runs; `workspace/<name>` by default."),
    ] = None,
) -> None:
    """Tell in words what changed between two schemas.

    Each is a TFMD schema in text format, or a config, which stands for the schema that a run of it
    would use. With one config alone: what changed in it since its last run.

    Example: `seamline schema diff old.pbtxt shop.yaml`
    """
    with _clear_errors():
        from schema.changes import changes

        if after is None:
            from pipeline.config import load_config
            from pipeline.workspace import Workspace

            if not _is_config(before):
                raise UserError(
                    f"{before} is compared with nothing. Name a second schema, or a catalog's YAML "
                    "file alone to compare it with its last run."
                )
            name = load_config(before).name
            place = Workspace((workspace or Path("workspace") / name).absolute())
            if not place.last_schema.is_file():
                raise UserError(
                    f"{place.root} holds no schema, because no run was started there. Start one: "
                    f"`seamline run {before}`, or name the folder of its runs with --workspace."
                )
            before, after = place.last_schema, before
        told = changes(_schema_of(before), _schema_of(after))
        for sentence in told:
            typer.echo(f"{sentence}.")
        if not told:
            typer.echo("Nothing has changed.")


def _is_config(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _schema_of(path: Path) -> schema_pb2.Schema:
    """The schema in `path`, or the one that a run of the config `path` would use."""
    from schema.catalog import catalog_schema, read_schema

    if not _is_config(path):
        return read_schema(path)
    from pipeline.config import load_config

    catalog = load_config(path).catalog
    return catalog_schema(catalog.slices, catalog.schema_file)


def _report_file(workspace: Path, name: str) -> Path:
    from pipeline.workspace import Workspace

    path = Workspace(workspace.absolute()).report / name
    if not path.is_file():
        raise UserError(
            f"{workspace} holds no report yet: no run came to its end there. "
            "`seamline run CONFIG --workspace DIR` makes one."
        )
    return path
