"""The images, built step by step and started, where no container engine is: see `engine`."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml

import serving
from components.ledger.ledger import Ledger, Pushed
from environment.create import CHECKED_IMPORTS
from pipeline.config import load_config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.kubeflow.spec import compiled
from tests.image import engine
from tests.image.engine import Bind, Engine, Image
from tests.pipeline.kubeflow.backend import Backend
from tests.pipeline.kubeflow.conftest import CONFIGS, QUICK
from tests.serving.app import search_model

ROOT = Path(__file__).parents[2]
DEPLOY = Path(serving.__file__).parent / "deploy"
ANYBODY = "1234567:0"
"""A user as OpenShift makes them up: without a name, in root's group."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(
        "SEAMLINE_BUILD_IMAGE" not in os.environ,
        reason="installs gigabytes from the package indexes: SEAMLINE_BUILD_IMAGE=1 runs it",
    ),
    pytest.mark.skipif(bool(engine.shortcoming()), reason=engine.shortcoming()),
]


@pytest.fixture(scope="module")
def images() -> Iterator[Engine]:
    """Builds images when they are asked for."""
    with tempfile.TemporaryDirectory(prefix="seamline-image-", dir="/var/tmp") as folder:
        yield Engine(Path(folder), ROOT)


@pytest.fixture(scope="module")
def image(images) -> Image:
    """That of all."""
    return images.build()


@pytest.fixture(scope="module")
def app(images) -> Image:
    """That of the search's app."""
    return images.build("app")


def ended(images: Engine, image: Image, *command: str, user: str = "") -> str:
    """What a command prints in a container that ends well; by default the image's own command."""
    bare = dataclasses.replace(image, entrypoint=())
    started = images.start(bare, command, user=user, output=subprocess.PIPE)
    status, output = started.ended()
    assert status == 0, output
    return output


# What is in them.


def test_their_layers_are_few_and_what_changes_often_is_small(images, image, app):
    published = len(images.build("base").layers)
    for built in (image, app):
        for layer in built.layers:
            print(f"{layer.size() / 1e6:8.1f} MB {layer.seconds:6.0f} s  {layer.step[:90]}")
        dependencies, *ours = built.layers[published:]
        assert sum(layer.size() for layer in ours) < 20e6 < dependencies.size()
    assert len(image.layers) == published + 2
    assert sum(layer.size() for layer in image.layers) < 3.9e9
    assert sum(layer.size() for layer in app.layers) < 0.7e9


def test_nothing_of_the_build_is_left_in_them(images, image, app):
    published = len(images.build("base").layers)
    for built in (image, app):
        for layer in built.layers[published:]:
            files = [path for path in layer.folder.rglob("*") if not path.is_symlink()]
            assert {path.relative_to(layer.folder).parts[0] for path in files} == {"opt"}
            # Nobody but root may change them.
            assert not [path for path in files if path.stat().st_mode & 0o022]
            assert {path.stat().st_uid for path in files} == {0}
        found = ended(images, built, "sh", "-c", "command -v cc gcc g++ c++ make uv go; true")
        assert found == ""
    absent = {"tests", "docs", "environment", "benchmarks", ".git"}
    packages = {path.name for path in image.layers[-1].folder.rglob("site-packages/*")}
    assert {"pipeline", "components", "trainer", "schema", "serving"} <= packages
    assert not absent & packages


def test_what_is_installed_fits_together(images, image, app):
    for built in (image, app):
        pip = ("python3.11", "-m", "pip", "--python", "/opt/seamline/bin/python", "check")
        assert "No broken requirements" in ended(
            images, built, "/usr/local/bin/" + pip[0], *pip[1:]
        )
    modules = [name for name in CHECKED_IMPORTS if name != "pytest"]
    ended(images, image, "python", "-c", f"import {', '.join(modules)}, boto3, qdrant_client")
    without = (
        "import importlib.util, sys; sys.exit(importlib.util.find_spec('tensorflow') is not None)"
    )
    ended(images, app, "python", "-c", without)


# What they run.


@pytest.mark.parametrize("user", ["", ANYBODY])
def test_the_command_line_answers_whoever_asks(images, image, user):
    assert "train-worker" in ended(images, image, user=user)
    for command in ("run", "tune-worker", "train-worker"):
        assert "--help" in ended(images, image, "seamline", command, "--help", user=user)


class ImageBackend(Backend):
    """Has a step's container be one of the image, of somebody without a name."""

    def __init__(self, images: Engine, image: Image, catalog: Path, **options):
        """Takes the catalog's folder, which is mounted, and a backend's options."""
        super().__init__(wheel=Path("/not/seen"), **options)
        self._images, self._image, self._catalog = images, image, catalog

    def _environment(self, container, pod):
        return {**self.env, **{of["name"]: of["value"] for of in container.get("env", ())}}

    def _ended(self, command, arguments, folder, environment):
        """Runs a container's command as the pod's user, who can write what the launcher can."""
        pod = folder.parent
        user, group = map(int, ANYBODY.split(":"))
        for folder, _, files in os.walk(pod):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(path, user, group)
        started = self._images.start(
            self._image,
            [*command, *arguments],
            [Bind(pod, written=True), Bind(self._catalog)],
            env=environment,
            user=ANYBODY,
            # There the object store is.
            network="host",
            output=subprocess.PIPE,
        )
        status, output = started.ended()
        return subprocess.CompletedProcess(command, status, output)


def test_a_catalog_becomes_a_pushed_model_as_kubeflow_starts_the_steps(
    images, image, bucket_url, tmp_path
):
    catalog = draw_demo_catalog(tmp_path / "catalog", products=200, seed=11).folder
    options = [
        f"catalog.folder={catalog}",
        f"kubeflow.root={bucket_url}/demo",
        f"kubeflow.volumes={{data: {tmp_path}}}",
    ]
    spec = compiled(load_config(CONFIGS / "demo.yaml", [*QUICK, *options]), "seamline:0.1.0")
    backend = ImageBackend(
        images,
        image,
        catalog,
        folder=tmp_path / "pods",
        store=boto3.client("s3"),
        env={name: value for name, value in os.environ.items() if name.startswith("AWS_")},
    )

    run = backend.run(spec.to_yaml(), spec.root)

    assert run.done() == set(spec.pipeline["root"]["dag"]["tasks"])
    [pushed] = Ledger(f"{bucket_url}/demo/ledger").entries(Pushed)
    assert pushed.model == run.outputs["Trainer"]["model"].uri


def test_a_pool_of_beams_workers_answers(images, image):
    flink = yaml.safe_load((ROOT / "pipeline" / "deploy" / "flink" / "flink.yaml").read_text())
    (_, pool) = flink["spec"]["taskManager"]["podTemplate"]["spec"]["containers"]
    started = images.start(image, [*pool["command"], *pool["args"]], output=subprocess.PIPE)
    port = pool["ports"][0]["containerPort"]
    asks = f"import socket; socket.create_connection(('localhost', {port}), 2)"

    assert started.becomes_healthy(["python", "-c", asks], 300)
    started.execute(pool["lifecycle"]["preStop"]["exec"]["command"])
    status, output = started.ended()
    assert status == 0, output


def test_dataflows_image_is_started_by_beams_boot(images):
    dataflow = images.build("dataflow")
    started = images.start(dataflow, ["--worker_pool"])
    asks = "import socket; socket.create_connection(('localhost', 50000), 2)"

    assert dataflow.entrypoint == ("/opt/apache/beam/boot",)
    assert started.becomes_healthy(["python", "-c", asks], 300)
    started.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Path:
    """A workspace's serving folder with a model and its index, which everybody may read."""
    folder = tmp_path_factory.mktemp("serving")
    model = search_model.SearchModel()
    model.save(folder / "catalog" / "1")
    search_model.write_index(model, folder / "catalog" / "1", search_model.catalog())
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def test_model_server_and_app_become_healthy_and_end_when_they_are_told(images, image, app, served):
    services = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]
    ours = yaml.safe_load((DEPLOY / "docker-compose.seamline.yaml").read_text())["services"]
    model_server = ours["model-server"]
    models, config = Bind(served, "/models"), Bind(DEPLOY / "config", "/config")
    (_, *check) = services["model-server"]["healthcheck"]["test"]
    server = images.start(
        image, [*model_server["entrypoint"], *model_server["command"]], [models, config]
    )
    # The app finds it by its service's name where there is a name server.
    hosts = served.parent / "hosts"
    hosts.write_text("127.0.0.1 localhost model-server\n")
    search = images.start(
        app, services["app"]["command"], [models, Bind(hosts, "/etc/hosts")], beside=server
    )

    assert search.execute(app.health.command).returncode == 1
    assert server.becomes_healthy(check, 600)
    assert search.becomes_healthy(app.health.command, 120)
    page = "import urllib.request; print(urllib.request.urlopen('http://localhost:8080/').read())"
    assert "<html" in search.execute(["python", "-c", page]).stdout
    assert search.stop(30) == 0
    assert server.stop(60) == 0
