"""The `seamline` command.

Heavy libraries are imported inside the commands that need them, so that `--help` and mistakes in a
config answer at once.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from pipeline.system_faults import (
    FOLDER_IS_GONE,
    folder_is_gone,
    open_standard_streams,
    output_is_closed,
    system_fault,
)
from pipeline.tables import metrics_tables, predictions_table
from schema.errors import UserError
from schema.version import VERSION

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

    from pipeline.catalog_table import CatalogTable
    from pipeline.workspace import Workspace
    from serving.client import Automatic, Result

NOT_BLESSED = 3
"""Exit status of a run whose model was trained and judged, and did not deserve to go live."""

CLOSED_PIPE = 128 + signal.SIGPIPE
"""Exit status where whoever reads the output goes first, as `head` does: what a shell shows."""

DRIFTED = 4
"""Exit status of a look at live traffic that is not what the model was trained on any more."""

_MOST_REFUSED = 5

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

index_app = typer.Typer(
    help="Bring a catalog's index to Qdrant, or make one by a network that never saw the catalog.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(index_app, name="index")


def _local(folder: Path | None) -> Path | None:
    """Refuses a bucket's URL, in one sentence."""
    if folder is not None and ":/" in str(folder):
        from pipeline.workspace import url_of

        if url := url_of(folder):
            _fail(
                f"{url} is in an object store, and this command reads a folder of this machine: "
                f"fetch it, as `gcloud storage cp --recursive {url} .` does, and name that."
            )
    return folder


WorkspaceArgument = Annotated[
    Path, typer.Argument(help="The folder that `seamline run` worked in.", metavar="WORKSPACE")
]
LocalWorkspaceArgument = Annotated[
    Path,
    typer.Argument(
        help="The folder that `seamline run` worked in.", metavar="WORKSPACE", callback=_local
    ),
]
ConfigArgument = Annotated[Path, typer.Argument(help="The catalog's YAML file.", metavar="CONFIG")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Set one option; may be repeated."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show the libraries' own output and tracebacks.")
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        help="With --server: file with its API key alone; else SEAMLINE_API_KEY may hold it.",
        metavar="FILE",
    ),
]
QdrantUrl = Annotated[
    str | None,
    typer.Option(
        "--qdrant",
        metavar="URL",
        help="Search in the Qdrant that `seamline index push` brought the index to.",
    ),
]
QdrantAlias = Annotated[
    str | None,
    typer.Option(
        "--qdrant-alias", help="With --qdrant: what it was pushed as; the model's name by default."
    ),
]
QdrantKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--qdrant-api-key-file",
        help="With --qdrant: file with its API key alone; else SEAMLINE_QDRANT_API_KEY may hold "
        "it.",
        metavar="FILE",
    ),
]
ModelName = Annotated[
    str, typer.Option("--model", help="Name of the served model (`serving.model_name`).")
]


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seamline {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which version this is."
        ),
    ] = False,
) -> None:
    pass


_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""With Python's own 700, collecting is a fifth of what importing TensorFlow and TFX takes."""


def main() -> None:
    """Entry point of the console script."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    open_standard_streams()
    try:
        app()
    except SystemExit as end:
        # Rich and Click make of what could not be printed an end with status 1.
        if isinstance(end.__context__, BrokenPipeError):
            _leave(CLOSED_PIPE)
        raise


@contextmanager
def _clear_errors(verbose: bool = False, *folders: Path | None) -> Iterator[None]:
    """Turns what a person can mend into one sentence and exit status 1.

    Args:
        verbose: lets the traceback through.
        folders: where the command writes, to be named where they are full.
    """
    try:
        if folder_is_gone():
            raise UserError(FOLDER_IS_GONE)
        yield
    except UserError as error:
        if verbose:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("Interrupted. Run the same command again to go on from the last finished step.", 130)
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if output_is_closed():
            _leave(CLOSED_PIPE)
        sentence = system_fault(error, [folder for folder in folders if folder])
        if sentence is None and isinstance(error, OSError):
            where = f": {error.filename}" if error.filename else ""
            said = f"{error.strerror or error}{where}"
            sentence = f"{said}. Run again with --verbose for the details."
        if verbose or sentence is None:
            raise
        with suppress(typer.Exit):
            _fail(sentence)
        _leave(1)


def _leave(status: int) -> NoReturn:
    """Ends the process at once.

    Files that could not be written make native libraries crash while Python takes them down, and
    what was printed in vain would be tried again.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


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

    with _clear_errors(False, folder):
        catalog = draw_demo_catalog(folder, products=products, seed=seed, faults=faults)
        typer.echo(f"{products:,} products drawn: {catalog.folder / 'labels.csv'}")


@app.command()
def run(
    config: ConfigArgument,
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything of these runs, here or in a bucket (`gs://...`); "
            "`workspace/<name>` by default.",
        ),
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
    with _clear_errors(verbose, workspace or Path("workspace")):
        from pipeline.config import load_config
        from pipeline.session import run_in_console
        from pipeline.workspace import Workspace

        options = load_config(config, overrides or [])
        place = Workspace.named(workspace or Path("workspace") / options.name)
        blessed = run_in_console(options, place, verbose)
    raise typer.Exit(0 if blessed else NOT_BLESSED)


Image = Annotated[
    str | None,
    typer.Option(help="Container image of all steps; else `kubeflow.image`.", metavar="IMAGE"),
]


@app.command("compile")
def compile_command(
    config: ConfigArgument,
    image: Image = None,
    output: Annotated[
        Path, typer.Option(help="The file that Kubeflow Pipelines takes.", metavar="FILE")
    ] = Path("pipeline.yaml"),
    look_up: Annotated[
        bool,
        typer.Option(
            "--look-up/--no-look-up",
            help="Ask the ledger below `kubeflow.root` what the run is compared with.",
        ),
    ] = True,
    overrides: Overrides = None,
) -> None:
    """Write the pipeline as Kubeflow Pipelines runs it, for its page or its client.

    What is compared with what is looked up now, so a file stands for one run: `seamline submit`
    compiles anew each time.

    Example: `seamline compile shop.yaml --image registry/seamline:1 --output pipeline.yaml`
    """
    with _clear_errors(False, output.parent):
        from pipeline.config import load_config

        options = load_config(config, overrides or [])
        with _quiet_imports():
            from pipeline.kubeflow.commands import compile_to

        compile_to(output, options, image, look_up)


@app.command()
def submit(
    config: ConfigArgument,
    host: Annotated[
        str, typer.Option(help="Address of Kubeflow Pipelines, as a browser opens it.")
    ],
    image: Image = None,
    namespace: Annotated[
        str | None, typer.Option(help="Where the installation has several users.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for the run's end, and tell of every step.")
    ] = False,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Start again and again: seconds, minutes, hours, day of the month, month, day of "
            "the week, as in `0 0 3 * * 1`.",
            metavar="CRON",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Run the pipeline on a cluster's Kubeflow Pipelines.

    What earlier runs left is looked up below `kubeflow.root`, and the catalog is looked at, so that
    a changed picture is noticed. `KFP_TOKEN` may hold a bearer token.

    Example: `seamline submit shop.yaml --host http://localhost:8080 --follow`
    """
    with _clear_errors(False):
        from pipeline.config import load_config

        options = load_config(config, overrides or [])
        with _quiet_imports():
            from pipeline.kubeflow.commands import submit as submit_run

        submit_run(options, host, image, namespace=namespace, follow=follow, schedule=schedule)


Patience = Annotated[
    float,
    typer.Option("--patience", min=0, help="Seconds to wait for a run that does not answer."),
]


@app.command("tune-worker")
def tune_worker(
    chief: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the run listens (`tuning.listen`).")
    ],
    patience_s: Patience = 600.0,
    verbose: Verbose = False,
) -> None:
    """Run trials of another machine's search for better options.

    The run's workspace must be mounted here under the same path. The worker may be started before
    the run, outlives a restart of it, and ends when no trial is left.

    Example: `seamline tune-worker --chief trainer.example:7077`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _clear_errors(verbose):
        from pipeline.worker_console import tune_in_console

        tune_in_console(chief, patience_s, verbose)


@app.command("train-worker")
def train_worker(
    chief: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the run listens (`training.listen`).")
    ],
    patience_s: Patience = 600.0,
    verbose: Verbose = False,
) -> None:
    """Train together with another machine's run, with all GPUs of this one.

    The run's workspace must be mounted here under the same path. The worker may be started before
    the run, outlives a restart of it, and ends when the training is over.

    Example: `seamline train-worker --chief trainer.example:7078`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _clear_errors(verbose):
        from pipeline.worker_console import train_in_console

        train_in_console(chief, patience_s, verbose)


@app.command()
def serve(
    workspace: LocalWorkspaceArgument,
    port: Annotated[int, typer.Option(min=0, help="gRPC port; 0 takes any free one.")] = 8500,
    rest_port: Annotated[
        int | None,
        typer.Option(min=0, help="REST port; 0 takes any free one, without it there is no REST."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on; 0.0.0.0 or :: for every network of the machine."),
    ] = "127.0.0.1",
    model: ModelName = "catalog",
    batching: Annotated[
        bool, typer.Option(help="Compute requests of several callers together.")
    ] = True,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="Ask callers for a key: one a line, a name before it if you like.", metavar="FILE"
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Speak TLS: the server's certificate.", metavar="PEM")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="TLS: the certificate's private key.", metavar="PEM")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="Mutual TLS: callers must show a certificate of this authority.", metavar="PEM"
        ),
    ] = None,
    access_log: Annotated[
        Path | None, typer.Option(help="Write a line of JSON a request.", metavar="FILE")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Serve what was pushed, with TensorFlow Serving's gRPC and REST interface.

    Newer versions are taken up as they are pushed, and answer once they are loaded. Ctrl-C or
    SIGTERM answers the calls there are and ends it; a second one ends it at once.

    `python -m serving.model_server --help` has every option of TensorFlow Serving.

    Example: `seamline serve workspace/demo --port 8500 --rest-port 8501`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _clear_errors(verbose, workspace):
        from pipeline.serve_console import serve_in_console

        place = _existing(workspace)
        serve_in_console(
            place,
            model,
            host=host,
            port=port,
            rest_port=rest_port,
            batching=batching,
            api_key_file=api_key_file,
            tls_files=(tls_certificate, tls_key, tls_client_ca),
            access_log=access_log,
            verbose=verbose,
        )


@app.command()
def predict(
    images: Annotated[
        list[Path] | None, typer.Argument(help="Picture files.", metavar="IMAGE...")
    ] = None,
    server: Annotated[str, typer.Option(help="HOST:PORT of the server's gRPC.")] = "localhost:8500",
    model: ModelName = "catalog",
    version: Annotated[
        int | None, typer.Option(help="Version of the model to ask; the newest by default.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="In place of a version its label, e.g. `stable`.")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait.")] = 30.0,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the API key alone; else SEAMLINE_API_KEY may hold it.", metavar="FILE"
        ),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS.")] = False,
    ca: Annotated[
        Path | None, typer.Option(help="TLS: certificates (PEM) that vouch for the server's.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="TLS: the client's own certificate (PEM).")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="TLS: its private key (PEM).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="With --json: all scores, and the embedding.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Least score of a shown attribute; the model's own by default."),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Ask about every row of this CSV, in place of IMAGE.", metavar="FILE"
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--images", help="With --csv: the folder of pictures.", metavar="DIR"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="In place of --csv and its columns: the catalog's YAML file.", metavar="CONFIG"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --csv: the CSV of answers; goes on where it ends.", metavar="FILE"),
    ] = None,
    fill: Annotated[
        Path | None,
        typer.Option(
            help="With --csv: the CSV again, with what was empty and the model is sure of.",
            metavar="FILE",
        ),
    ] = None,
    fill_known: Annotated[
        bool,
        typer.Option(
            "--fill-known",
            help="With --fill: fill in as well what reaches the model's own thresholds and "
            "somebody should look at.",
        ),
    ] = False,
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="With --csv: the workspace whose versions the server serves; its scores say which "
            "answers need no person. By default workspace/<name> of --config.",
            metavar="DIR",
            callback=_local,
        ),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Begin the file of --out again.")] = False,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column of the product's id; `id` by default.")
    ] = None,
    picture_column: Annotated[
        str | None,
        typer.Option(
            "--picture", help="Column of the picture's path; by default `<id>.<suffix>` is sought."
        ),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="With --fill: column of the category; `category` by default.")
    ] = None,
    subcategory: Annotated[
        str | None,
        typer.Option(help="With --fill: column of the sub-category; `subcategory` by default."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Text encoding of the CSV; UTF-8 by default.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="With --csv: requests at a time.")
    ] = 4,
    verbose: Verbose = False,
) -> None:
    """Name category, sub-category, extra labels and attributes, of some pictures or of a catalog.

    Of a catalog, the file of answers is all that is kept: run the same command again after Ctrl-C
    or a power cut, and it goes on behind the last row. A picture that cannot be used costs its row
    alone, which says why.

    Example: `seamline predict shoe.jpg --server localhost:8500`

    Example: `seamline predict --csv labels.csv --images images --out predictions.csv`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _clear_errors(verbose, out, fill):
        from serving.client import CatalogClient, Tls
        from serving.client.connection import read_api_key

        secure = Tls(ca, certificate, key) if tls or ca or certificate or key else None
        walk_options = {
            "--csv": csv_file,
            "--images": pictures,
            "--out": out,
            "--fill": fill,
            "--fill-known": fill_known,
            "--workspace": workspace,
            "--anew": anew,
            "--id": id_column,
            "--picture": picture_column,
            "--category": category,
            "--subcategory": subcategory,
            "--encoding": encoding,
        }
        walks = bool(csv_file or config)
        if walks:
            table = _catalog_table(images, config, walk_options)
            if as_json or everything or threshold is not None:
                raise UserError(
                    "--json, --everything and --threshold are for pictures: a catalog's answers go "
                    "into the CSV of --out, and count from the model's own thresholds."
                )
        else:
            if not images:
                raise UserError("Name pictures to ask about, or a catalog with --csv or --config.")
            if given := [option for option, value in walk_options.items() if value]:
                raise UserError(f"{given[0]} goes with --csv or --config, and neither was given.")
            if everything and not as_json:
                raise UserError("--everything is more than a table holds: it goes with --json.")
        with CatalogClient(
            server,
            model_name=model,
            timeout_s=timeout_s,
            version=version,
            label=label,
            tls=secure,
            api_key=read_api_key(api_key_file),
        ) as client:
            if walks:
                from pipeline.walk_console import WalkStopped, walk_in_console

                # Whoever ends it with SIGTERM, as service managers do, deserves the same good end.
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                try:
                    scores_of = _scores_of(workspace, config, model)
                    walk_in_console(
                        client, table, out, fill, anew, concurrency, scores_of, fill_known
                    )
                except WalkStopped as stopped:
                    _fail(str(stopped), 130)
                return
            results = list(client.predict_many(images, everything=everything))
        _show(images, results, as_json, everything, threshold)


@app.command()
def search(
    target: Annotated[
        str,
        typer.Argument(help="A picture file, or a product's id.", metavar="PICTURE|ID"),
    ],
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="Whose catalog; the only one in ./workspace by default.",
            metavar="DIR",
            callback=_local,
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", "--k", min=1, max=1000, help="How many products to show.")
    ] = 15,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only products with this value; the same field again: any of its values.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Leave out this product.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BLOCK=NUMBER", help="How much a part of the score counts, e.g. `colour=0.6`."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the model to search by; `catalog`, or the only one there is."),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="Its version; the newest with an index by default.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="LEFT,TOP,WIDTH,HEIGHT",
            help="Look at a part of the picture, in shares of its width and height.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="gRPC of a model server with this model; one is started here by default.",
        ),
    ] = None,
    api_key_file: ApiKeyFile = None,
    qdrant: QdrantUrl = None,
    qdrant_alias: QdrantAlias = None,
    qdrant_api_key_file: QdrantKeyFile = None,
    expand: Annotated[
        bool,
        typer.Option("--expand", help="Search again, from between the picture and the first five."),
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare every product, however many there are.")
    ] = False,
    fold: Annotated[
        bool, typer.Option(help="Show one of several nearly identical products.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the API would answer.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Find the products that look like a picture, or like a product.

    Needs a model that was pushed with its index (`search.enabled`). The score is the sum of what
    its parts add; see docs/search.md.

    Example: `seamline search photo.jpg --where gender=Women --weight colour=0.6`

    Example: `seamline search 15970 --workspace workspace/catalog -k 5 --json`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _clear_errors(verbose):
        from pipeline import search_command
        from pipeline.workspace import Workspace
        from serving.app.models import qdrant_server
        from serving.app.parameters import Search
        from serving.client.connection import read_api_key

        wanted = Search.of(
            model=model,
            version=version,
            crop=crop,
            k=k,
            where=where or [],
            exclude=exclude or [],
            weight=weight or [],
            fold=fold,
            exact=exact,
            expand=expand,
        )
        answer = search_command.search(
            Workspace((workspace or search_command.default_workspace()).absolute()),
            target,
            wanted,
            server=server,
            api_key=read_api_key(api_key_file),
            qdrant=qdrant_server(qdrant, qdrant_alias, qdrant_api_key_file),
            verbose=verbose,
        )
        if as_json:
            typer.echo(search_command.as_json(answer))
        else:
            Console().print(search_command.result_table(answer, target), highlight=False)


@app.command("app")
def search_app(
    workspace: LocalWorkspaceArgument,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The page's port; 0 takes any free one.")
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; 0.0.0.0 or :: for every network of the machine, without a "
            "login."
        ),
    ] = "127.0.0.1",
    model: Annotated[
        str | None, typer.Option(help="Search by this model alone; by all that there are, else.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="gRPC of a model server with these models; one is started here by default.",
        ),
    ] = None,
    api_key_file: ApiKeyFile = None,
    qdrant: QdrantUrl = None,
    qdrant_alias: QdrantAlias = None,
    qdrant_api_key_file: QdrantKeyFile = None,
    opens: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.")
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Serve a page, and an API, to search the catalog by pictures.

    Needs a model that was pushed with its index (`search.enabled`). Every version that has one can
    be searched by; newer ones are taken up as they are pushed. Ctrl-C or SIGTERM ends it.

    `python -m serving.app --help` has the same beside a model server that runs elsewhere.

    Example: `seamline app workspace/demo --open`
    """
    if not verbose:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with _clear_errors(verbose, workspace):
        from pipeline.app_console import app_in_console
        from serving.app.models import qdrant_server
        from serving.client.connection import read_api_key

        place = _existing(workspace)
        app_in_console(
            place,
            model=model,
            host=host,
            port=port,
            server=server,
            api_key=read_api_key(api_key_file),
            qdrant=qdrant_server(qdrant, qdrant_alias, qdrant_api_key_file),
            opens=opens,
            verbose=verbose,
        )


def _catalog_table(
    images: list[Path] | None, config: Path | None, options: Mapping[str, Any]
) -> CatalogTable:
    """The catalog that the options of `predict` describe."""
    from pipeline.catalog_table import CatalogTable
    from pipeline.config import load_config

    if images:
        raise UserError(f"Both the picture {images[0]} and a catalog were named. Name one of them.")
    if not options["--out"]:
        raise UserError("Where are the answers to go? Name a file with --out.")
    if config:
        table = CatalogTable.from_options(load_config(config).catalog)
    elif options["--images"]:
        table = CatalogTable(options["--csv"], options["--images"])
    else:
        raise UserError("Where are the pictures? Name their folder with --images.")
    named = {
        "csv": options["--csv"],
        "images": options["--images"],
        "id": options["--id"],
        "picture": options["--picture"],
        "category": options["--category"],
        "subcategory": options["--subcategory"],
        "encoding": options["--encoding"],
    }
    return replace(table, **{name: value for name, value in named.items() if value is not None})


def _scores_of(
    workspace: Path | None, config: Path | None, model: str
) -> Callable[[int | None], Automatic | None]:
    """From a version to the scores from which on its answers need no person, where they are known.

    Raises, when it is called:
        UserError: a workspace was named and the version is none of it.
    """
    from pipeline.config import load_config
    from pipeline.workspace import Workspace
    from serving.client import Automatic

    named = workspace is not None
    if workspace is None and config:
        workspace = Path("workspace") / load_config(config).name

    def scores_of(version: int | None) -> Automatic | None:
        if workspace is None:
            return None
        versions = Workspace(workspace.absolute()).serving / model
        try:
            found = Automatic.of_version(versions / str(version))
        except UserError as error:
            if not named:
                return None
            raise UserError(
                f"The server answers with version {version}, and {versions} has no such version "
                "that Seamline pushed. Name the workspace that it serves with --workspace, or "
                "leave it out: then answers are taken by the model's own thresholds."
            ) from error
        return found if found.wanted is not None else None

    return scores_of


def _show(
    images: list[Path],
    results: list[Result],
    as_json: bool,
    everything: bool,
    threshold: float | None,
) -> None:
    """Prints what the model says; what it cannot say fails the command, after all the rest."""
    from serving.client import Refused

    refused = [result for result in results if isinstance(result, Refused)]
    if as_json:
        for image, result in zip(images, results, strict=True):
            plain = result.to_dict() if isinstance(result, Refused) else result.to_dict(everything)
            typer.echo(json.dumps({"image": str(image)} | plain))
    else:
        answered = [
            (image.name, result)
            for image, result in zip(images, results, strict=True)
            if not isinstance(result, Refused)
        ]
        if answered:
            names, predictions = zip(*answered, strict=True)
            Console().print(predictions_table(names, predictions, threshold))
    if refused:
        sentences = "; ".join(f"{one.picture} {one.reason}" for one in refused[:_MOST_REFUSED])
        more = f"; and {len(refused) - _MOST_REFUSED} more" if len(refused) > _MOST_REFUSED else ""
        _fail(f"{sentences}{more}. Mend them or leave them out.")


@app.command()
def metrics(
    workspace: WorkspaceArgument,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COLUMN[=VALUE]",
            help="Only the slices of this column, or this one, with intervals; may be given "
            "several times. Beside the slice columns there are attributes, image_brightness, "
            "image_sharpness and image_size.",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Beside the last blessed model, on the same products.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print all of it as JSON, as docs/metrics.md describes."),
    ] = False,
) -> None:
    """Show the last run's metrics on the test part, overall and per slice.

    Example: `seamline metrics workspace/demo --slice gender --compare`
    """
    with _clear_errors():
        path = _report_file(workspace, "metrics.json")
        found = json.loads(path.read_text(encoding="utf-8"))
        if as_json:
            # Without a character that a terminal may lack.
            typer.echo(json.dumps(found, indent=1))
        else:
            Console().print(metrics_tables(found, slices or (), compare=compare))


@app.command()
def report(
    workspace: WorkspaceArgument,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    single: Annotated[
        Path | None,
        typer.Option(
            "--single-file",
            metavar="FILE",
            help="Write the page as one file for mail, with the pictures of the 200 products that "
            "are most surely wrong.",
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option("--png", metavar="DIR", help="Write the charts as pictures for documents."),
    ] = None,
) -> None:
    """Say where the last run's report is, open it, or write it in another form.

    Example: `seamline report workspace/demo --single-file report.html`
    """
    with _clear_errors():
        page = _report_file(workspace, "index.html")
        if single is not None:
            from components.report.single_file import single_file

            _write_text(single, single_file(page.parent))
            page = single
        if png is not None:
            from components.report.pictures import write_pictures

            for file in write_pictures(page.parent, png):
                typer.echo(file)
        else:
            typer.echo(page)
        if open_it:
            _open_page(page)


@app.command("slices")
def slices_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="What TensorFlow Model Analysis wrote, of any pipeline; or a workspace.",
            show_default=False,
            callback=_local,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write.")
    ] = Path("slices.html"),
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Explore the slices of any TensorFlow Model Analysis result, as one page that needs no net.

    Levels and figures to choose from, sorted, filtered, with intervals, beside the baseline.

    Example: `seamline slices my_pipeline/Evaluator/evaluation/12 --open`
    """
    with _clear_errors():
        from components.report.evaluations import render

        _write_text(output, render(folder))
        typer.echo(output)
        if open_it:
            _open_page(output)


@app.command("versions")
def versions_command(
    workspace: WorkspaceArgument,
    model: ModelName = "catalog",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    card: Annotated[
        bool, typer.Option("--card", help="Print the live version's model card, Markdown.")
    ] = False,
) -> None:
    """List the versions that were pushed: where each came from, how good it is, which is live.

    The live one is that which servers answer with, the largest number that can be loaded. Each has
    its model card in its folder, `assets.extra/model_card.md`.

    Example: `seamline versions workspace/demo`
    """
    with _clear_errors():
        from components.atomic_pusher.versions import find_versions, live_version
        from pipeline.versions_table import card_of, versions_json, versions_table

        folder = _serving_folder(workspace, model)
        found = find_versions(folder)
        if card:
            live = live_version(found)
            file = card_of(live) if live else None
            if file is None:
                told = f"Version {live.number} came without" if live else "There is no version with"
                raise UserError(f"{told} a model card in {folder}. `seamline run` pushes one.")
            typer.echo(file.read_text(encoding="utf-8"), nl=False)
            return
        rows = versions_json(found)
        if as_json:
            typer.echo(json.dumps(rows, indent=2))
        else:
            Console().print(f"{model} in {folder}", highlight=False, soft_wrap=True)
            Console().print(versions_table(rows), highlight=False)


@app.command()
def rollback(
    workspace: WorkspaceArgument,
    to: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="VERSION",
            help="Which version; by default the one that was live before the live one.",
        ),
    ] = None,
    model: ModelName = "catalog",
    verbose: Verbose = False,
) -> None:
    """Make an earlier version live again.

    It becomes a new version with the largest number, a copy that takes no room, so that running
    servers follow as they follow a push. The model that was live stays in its folder, and no run
    pushes it again by itself; `--to` its version makes it live again. May be called while servers
    and a run are at work. Not for object stores: see docs/scale.md.

    Example: `seamline rollback workspace/demo`
    """
    with _clear_errors(verbose, workspace):
        from components.atomic_pusher.versions import roll_back

        done = roll_back(_serving_folder(workspace, model), to)
        live = done.live
        if done.replaced is None:
            typer.echo(f"version {live.number} is live already; nothing was done")
            return
        typer.echo(
            f"version {live.number}, a copy of {live.first}, is live in place of "
            f"{done.replaced.number}; servers change over when they next look\n"
            f"to undo this: seamline rollback {workspace} --to {done.replaced.number}"
            + (f" --model {model}" if model != "catalog" else "")
        )


@app.command()
def drift(
    trained_by: Annotated[
        Path,
        typer.Argument(
            help="The folder that `seamline run` worked in, or the catalog's YAML file.",
            metavar="WORKSPACE|CONFIG",
            callback=_local,
        ),
    ],
    log: Annotated[
        Path, typer.Option(help="Folder of the server's `--traffic_log`.", metavar="DIR")
    ],
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="With CONFIG: folder of its runs; `workspace/<name>` by default.",
            callback=_local,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="From when on: 24h, 7d, 2w ago, or a date; from the log's beginning."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Until when, in the same way; until now by default.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=0, help="Which; that of the latest record by default.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the served model; CONFIG's `serving.model_name`, or `catalog`."),
    ] = None,
    max_drift: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest distance; CONFIG's `checks.drift`, or 0.15."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="By how much the estimated accuracy may fall.")
    ] = 0.05,
    max_refused: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Largest share of refused pictures; CONFIG's `checks.max_rejected`, or 0.1.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Compare live traffic with what the served model was trained on.

    Tells by the sample that a server logged whether the pictures and the answers are as they were,
    and how often the answers are right by their scores. Something has moved where it is farther off
    than is allowed and than chance would take it. Exit status: 0 nothing has moved, 4 something
    has, 1 there is no telling: no log, fewer than 100 records, a version of another workspace.

    Example: `seamline drift workspace/demo --log /var/log/seamline --since 7d`
    """
    with _clear_errors(verbose):
        from pipeline.config import Checks, load_config
        from pipeline.session import quiet_terminal

        checks = Checks()
        if _is_config(trained_by):
            options = load_config(trained_by)
            checks, model = options.checks, model or options.serving.model_name
            workspace = workspace or Path("workspace") / options.name
        elif workspace:
            raise UserError(f"--workspace goes with a CONFIG, and {trained_by} is none.")
        else:
            workspace = trained_by
        with quiet_terminal(Path(os.devnull), verbose):
            from components.live_traffic.comparison import Limits
            from pipeline.drift import drift_json, drift_tables, look_at_traffic, moment_ms
            from pipeline.workspace import Workspace

            limits = Limits(
                drift=checks.drift if max_drift is None else max_drift,
                drop=max_drop,
                refused=checks.max_rejected if max_refused is None else max_refused,
            )
            window = {
                name: moment_ms(text)
                for name, text in (("since_ms", since), ("until_ms", until))
                if text
            }
            place = Workspace(workspace.absolute())
            outcome = look_at_traffic(
                place, log.absolute(), model or "catalog", limits, version, **window
            )
        if as_json:
            typer.echo(json.dumps(drift_json(outcome), indent=2))
        else:
            Console().print(drift_tables(outcome), highlight=False)
    raise typer.Exit(DRIFTED if outcome.has_drifted else 0)


@app.command()
def demo(
    workspace: Annotated[
        Path,
        typer.Option(
            help="Folder for the drawn catalog and everything of its runs.", callback=_local
        ),
    ] = Path("workspace/demo"),
    verbose: Verbose = False,
) -> None:
    """Draw a catalog, run the whole pipeline on it, serve the model and ask it.

    This is what `make demo` calls.
    """
    with _clear_errors(verbose, workspace):
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
    with _clear_errors(verbose, workspace or Path("workspace"), output):
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
        place = Workspace.named(workspace or Path("workspace") / options.name)
        statistics = measure_in_console(options, place, verbose)
        base = catalog_schema(
            options.catalog.slices, several_pictures=options.catalog.several_pictures
        )
        schema, sentences = infer_schema(base, statistics)
        products = sum(split.num_examples for split in statistics)
        origin = f"Inferred by `seamline schema infer` from {products:,} products of {config.name}"
        # Half a file would be in the way of the next try.
        unfinished = file.with_name(f".{file.name}")
        write_schema(schema, unfinished, [f"{line}." for line in (origin, *sentences)])
        unfinished.replace(file)
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
            place = Workspace.named(workspace or Path("workspace") / name)
            place.fetch("schema")
            if not place.last_schema.is_file():
                raise UserError(
                    f"{place.place} holds no schema, because no run was started there. Start one: "
                    f"`seamline run {before}`, or name the folder of its runs with --workspace."
                )
            before, after = place.last_schema, before
        told = changes(_schema_of(before), _schema_of(after))
        for sentence in told:
            typer.echo(f"{sentence}.")
        if not told:
            typer.echo("Nothing has changed.")


@index_app.command("push")
def index_push(
    workspace: LocalWorkspaceArgument,
    url: Annotated[str, typer.Argument(help="Where Qdrant answers, e.g. `http://localhost:6333`.")],
    alias: Annotated[
        str | None,
        typer.Option(help="What the collection is asked by; the model's name by default."),
    ] = None,
    model: ModelName = "catalog",
    version: Annotated[
        int | None, typer.Option(help="Whose index; the live version's by default.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with Qdrant's API key alone; else SEAMLINE_QDRANT_API_KEY may hold it.",
            metavar="FILE",
        ),
    ] = None,
    remove_replaced: Annotated[
        bool, typer.Option(help="Remove the collection that the alias named before.")
    ] = False,
) -> None:
    """Bring an index to Qdrant, for a catalog past one machine.

    The products are streamed into a new collection, 1,000 of them are looked for in both, and only
    then the alias is changed. Needs `pip install 'seamline[search-qdrant]'`.

    Example: `seamline index push workspace/demo http://localhost:6333`
    """
    with _clear_errors():
        from pipeline.index_commands import push_index
        from serving.client.connection import read_api_key
        from serving.search.qdrant_server import API_KEY_VARIABLE

        models = _serving_folder(workspace, model)
        # Not SEAMLINE_API_KEY, which is the model server's.
        key = read_api_key(api_key_file, API_KEY_VARIABLE)
        typer.echo(push_index(models, version, url, alias or model, key, remove_replaced))


@index_app.command("baseline")
def index_baseline(
    workspace: LocalWorkspaceArgument,
    backbone: Annotated[
        str, typer.Option(help="A backbone with ImageNet's weights; see docs/options.md.")
    ] = "efficientnetlite0",
    height: Annotated[int, typer.Option(min=1, help="Of the pictures it sees, in pixels.")] = 160,
    width: Annotated[int, typer.Option(min=1, help="Of the pictures it sees, in pixels.")] = 120,
    model: ModelName = "catalog",
    verbose: Verbose = False,
) -> None:
    """Index the same products by a network that never saw the catalog, to compare the search with.

    It is pushed as a model of its own, `imagenet-<backbone>`, which `seamline app` offers beside
    the trained one.

    Example: `seamline index baseline workspace/demo --height 64 --width 64`
    """
    with _clear_errors(verbose, workspace):
        from pipeline.index_commands import baseline_in_console
        from pipeline.workspace import Workspace

        models = _serving_folder(workspace, model)
        place = Workspace(workspace.absolute())
        baseline_in_console(place, models, backbone, height, width, verbose)


@contextmanager
def _quiet_imports() -> Iterator[None]:
    """Keeps what libraries say of themselves while they load off the terminal, and warnings after.

    TensorFlow's C++ tells of cards that are not there, whatever it is asked, past Python.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _is_config(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml")


def _schema_of(path: Path) -> schema_pb2.Schema:
    """The schema in `path`, or the one that a run of the config `path` would use."""
    from schema.catalog import read_schema

    if not _is_config(path):
        return read_schema(path)
    from pipeline.config import load_config

    return load_config(path).catalog.tfmd_schema()


def _existing(workspace: Path) -> Workspace:
    """A workspace that a run made, with a folder for the log."""
    from pipeline.workspace import Workspace

    if not workspace.is_dir():
        raise UserError(
            f"There is no workspace {workspace}. `seamline run CONFIG` makes one and names it."
        )
    place = Workspace(workspace.absolute())
    place.create()
    return place


def _serving_folder(workspace: Path, model: str) -> Path:
    """The folder of a model's versions; there is at least one."""
    from components.atomic_pusher.versions import find_versions, require_local
    from pipeline.workspace import Workspace

    require_local(workspace)
    serving = Workspace(workspace.absolute()).serving
    if find_versions(serving / model):
        return serving / model
    others = sorted(path.name for path in serving.glob("*") if path.name != model and path.is_dir())
    raise UserError(
        f"No version of {model} was pushed to {serving}. "
        + (
            f"There is {', '.join(others)}: name it with --model."
            if others
            else "`seamline run CONFIG --workspace DIR` pushes one where it finds it good enough."
        )
    )


def _write_text(file: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)


def _open_page(page: Path) -> None:
    if not webbrowser.open(page.absolute().as_uri()):
        raise UserError(f"No browser could be started. Open {page} yourself.")


def _report_file(workspace: Path, name: str) -> Path:
    from pipeline.workspace import Workspace

    place = Workspace.named(workspace)
    place.fetch("report")
    path = place.report / name
    if not path.is_file():
        raise UserError(
            f"{place.url or workspace} holds no report yet: no run came to its end there. "
            "`seamline run CONFIG --workspace DIR` makes one."
        )
    return path
