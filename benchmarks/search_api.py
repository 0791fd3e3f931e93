"""Measures a search over HTTP, picture in and 15 products out, against the model server alone.

    python benchmarks/search_api.py --version FOLDER --pictures FOLDER

`--version` is the folder of one version with an index, e.g.
workspace/catalog/serving/catalog/1764150000, and `--pictures` one of JPEGs. The yardstick is the
same model server asked for the same pictures over gRPC, by the signature that a search asks and by
as many callers; the app stands beside it, on the same processors, and the callers of both are
processes of their own. Wanted is 1.3 times the model server's time a picture at most. Leave the
machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks import _embedded, _http_load, _load
from schema import features
from serving.search.catalog import IndexedCatalog

_MOST_PICTURES = 256
_START_S = 120.0


def load(program: str, **order: object) -> dict:
    """What callers saw, who ask in a process of their own."""
    finished = subprocess.run(
        [sys.executable, program],
        input=json.dumps(order).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    seen = json.loads(finished.stdout)
    if seen["failed"]:
        sys.exit(f"error: calls of {program} were not answered: {seen['failed']}.")
    return seen


def processor_s(process: subprocess.Popen) -> float:
    """Seconds of processors that a process has taken so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def grow(folder: Path, products: int) -> int:
    """Has an index hold so many products, by copies of those that it has, a little moved."""
    catalog = IndexedCatalog.open(folder)
    index, ids = catalog.index, catalog.index.ids()
    rng = np.random.default_rng(0)
    while (there := index.count()) < products:
        some = ids[: products - there]
        vectors = index.vectors(some)
        moved = vectors + 0.01 * rng.standard_normal(vectors.shape, np.float32)
        names = index.fields
        fields = [index.product(id_)[0] for id_ in some]
        index.upsert(
            [f"{id_} {there}" for id_ in some],
            moved,
            {name: [of.get(name) for of in fields] for name in names},
        )
    index.save(folder / "index")
    catalog.close()
    return index.count()


@contextmanager
def app(root: Path, server: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """The app beside the server, and its port."""
    port = _embedded._free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.app", str(root), "--server", server),
            *("--port", str(port)),
        ],
        cwd=_embedded.ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        began = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).read()
                break
            except (urllib.error.URLError, OSError):
                if time.monotonic() > began + _START_S:
                    sys.exit("error: the app does not become ready.")
                time.sleep(0.2)
        yield process, port
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--products", type=int, default=0, help="at least so many in the index")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--query", default="k=15", help="of POST /api/search")
    arguments = parser.parse_args()
    files = _embedded.picture_files(arguments.pictures, _MOST_PICTURES)
    with _embedded.served(arguments.version) as server:
        root = server.folder.parent
        products = grow(server.folder / "1" / features.INDEX_FOLDER, arguments.products)
        with app(root, server.endpoint) as (process, port):

            def alone(clients: int) -> dict:
                return load(
                    _load.__file__,
                    endpoint=server.endpoint,
                    model=_embedded.NAME,
                    pictures=files,
                    clients=clients,
                    pictures_per_request=1,
                    seconds=arguments.seconds,
                    signature=features.EVERYTHING_SIGNATURE,
                )

            def searched(clients: int) -> dict:
                return load(
                    _http_load.__file__,
                    host="127.0.0.1",
                    port=port,
                    path=f"/api/search?{arguments.query}",
                    pictures=files,
                    clients=clients,
                    seconds=arguments.seconds,
                )

            def ms_a_picture(seen: dict) -> float:
                return 1000 * seen["seconds"] / len(seen["latencies"])

            def with_processors(ask, clients: int) -> tuple[dict, float, float]:
                """What was seen, and the processors' ms a picture of server and app."""
                before = processor_s(server.process), processor_s(process)
                seen = ask(clients)
                after = processor_s(server.process), processor_s(process)
                of_server, of_app = (
                    1000 * (end - start) / len(seen["latencies"])
                    for start, end in zip(before, after, strict=True)
                )
                return seen, of_server, of_app

            print(f"{products:,} products, {len(files)} pictures", flush=True)
            alone(2), searched(2)
            ratios, shares = [], []
            for turn in range(arguments.rounds):
                model, model_ms, _ = with_processors(alone, arguments.clients)
                found, server_ms, app_ms = with_processors(searched, arguments.clients)
                ratios.append(ms_a_picture(found) / ms_a_picture(model))
                shares.append((server_ms + app_ms) / model_ms)
                one, one_found = alone(1), searched(1)
                print(
                    f"turn {turn + 1}: {arguments.clients} callers: model server "
                    f"{ms_a_picture(model):.2f} ms a picture, search {ms_a_picture(found):.2f} "
                    f"({ratios[-1]:.2f} times; median {1000 * median(found['latencies']):.0f} ms, "
                    f"p99 {1000 * np.percentile(found['latencies'], 99):.0f}); one caller: "
                    f"{ms_a_picture(one):.1f} and {ms_a_picture(one_found):.1f} ms; of processors "
                    f"{model_ms:.1f} ms, and {server_ms:.1f} + {app_ms:.1f}",
                    flush=True,
                )
            print(
                f"a search takes {median(ratios):.2f} times the model server's time a picture "
                f"({min(ratios):.2f} to {max(ratios):.2f}); wanted is 1.3 at most"
            )
            print(
                f"of processors {median(shares):.2f} times ({min(shares):.2f} to "
                f"{max(shares):.2f}), which others on the machine change less"
            )
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            print(f"the app's largest memory: {int(peak.split()[1]) / 1024:.0f} MB")


if __name__ == "__main__":
    main()
