"""`python -m serving.app`: the search's API and page, of what was pushed to a serving root."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from schema.errors import UserError
from serving.app.models import Models, qdrant_server
from serving.app.server import PORT, AppOptions, bound, serve
from serving.client.connection import read_api_key
from serving.process import LOOPBACK, run
from serving.search.qdrant_server import API_KEY_VARIABLE

_log = logging.getLogger("seamline.app")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT.

    Args:
        arguments: the command line without the program's name; this process's if None.

    Returns:
        The exit status: 0 if the app ended well, 1 if it could not begin, which is said in one
        sentence.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        options = AppOptions(
            root=given.serving_root,
            server=given.server,
            model=given.model,
            host=given.host,
            port=given.port,
            api_key=read_api_key(given.api_key_file),
            qdrant=qdrant_server(given.qdrant, given.qdrant_alias, given.qdrant_api_key_file),
        )
        if not options.root.is_dir():
            raise UserError(
                f"There is no folder {options.root}. Name the one that models are pushed to, "
                "WORKSPACE/serving."
            )
        run(serve(options, bound(options), _announce))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _announce(address: str, models: Models) -> None:
    _log.info("the page is at %s", address)
    if models.problem:
        _log.warning("%s", models.problem)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.app",
        description="Search a catalog by pictures: an API and a page, of the indexes that were "
        "pushed beside the models.",
    )
    parser.add_argument(
        "serving_root", type=Path, metavar="SERVING_ROOT", help="holds <model>/<version>/"
    )
    parser.add_argument(
        "--server", default="localhost:8500", metavar="HOST:PORT", help="the model server's gRPC"
    )
    parser.add_argument("--model", help="search by this model alone; by all by default")
    parser.add_argument(
        "--host", default=LOOPBACK, help=f"address to listen on; {LOOPBACK} by default"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"{PORT} by default; 0: any free")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="the key for the model server, alone in a file; else SEAMLINE_API_KEY may hold it",
    )
    parser.add_argument(
        "--qdrant",
        metavar="URL",
        help="search in the Qdrant that `seamline index push` brought the indexes to",
    )
    parser.add_argument(
        "--qdrant-alias", metavar="ALIAS", help="what it was pushed as; the model's name by default"
    )
    parser.add_argument(
        "--qdrant-api-key-file",
        type=Path,
        metavar="FILE",
        help=f"Qdrant's key, alone in a file; else {API_KEY_VARIABLE} may hold it",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
