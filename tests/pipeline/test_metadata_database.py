"""What was done, noted in a real PostgreSQL; and whose steps a run takes for killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline import metadata_database
from pipeline.config import load_config
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.workspace import Workspace
from schema.errors import UserError

PASSWORD = "s3cret of nobody's"
USER = "seamline"


def _binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps out of the path."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    named = shutil.which("initdb")
    for folder in (*packaged, *([Path(named).parent] if named else [])):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """`postgresql://USER@HOST:PORT` of a server of this module's own."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (initdb, postgres)")
    folder = Path(tempfile.mkdtemp(prefix="seamline-postgres-"))
    data, log = folder / "data", folder / "log"
    (folder / "password").write_text(PASSWORD)
    # PostgreSQL refuses to be root.
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    for path in (folder, folder / "password"):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    as_owner = (
        {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if not os.getuid() else {}
    )
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "-N"]
        + [f"--pwfile={folder / 'password'}"],
        check=True,
        capture_output=True,
        cwd=folder,
        **as_owner,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port)]
            + [word for setting in settings for word in ("-c", setting)],
            stdout=output,
            stderr=output,
            cwd=folder,
            **as_owner,
        )
    try:
        give_up = time.monotonic() + 60
        while "ready to accept connections" not in log.read_text():
            assert process.poll() is None and time.monotonic() < give_up, log.read_text()
            time.sleep(0.1)
        yield f"postgresql://{USER}@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder)


@pytest.fixture
def with_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password is where libpq looks for it."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGPASSFILE", "/dev/null")


@pytest.fixture
def database(server: str, with_password: None, tmp_path: Path) -> str:
    """URL of a database that is not there yet."""
    return f"{server}/{tmp_path.name}"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty one."""
    place = Workspace(tmp_path / "work")
    place.create()
    return place


@pytest.mark.slow
def test_a_second_run_takes_everything_from_what_the_first_noted(
    database: str, workspace: Workspace, tmp_path: Path
) -> None:
    from pipeline import local_runner

    class Observer:
        def __init__(self) -> None:
            self.states: dict[str, str] = {}

        def __getattr__(self, name: str):
            return lambda *arguments: None

        def finished(self, step: str, result) -> None:
            self.states[step] = result.state

    catalog = draw_demo_catalog(tmp_path / "catalog", products=80, faults=False)
    (tmp_path / "shop.yaml").write_text(
        f"name: shop\ncatalog: {{folder: {catalog.folder}, category: category, "
        f"subcategory: subcategory}}\nmetadata: {{postgresql: '{database}'}}\n"
    )
    config = load_config(tmp_path / "shop.yaml")
    states = []
    for _ in range(2):
        observer = Observer()
        with workspace.locked():
            local_runner.measure(config, workspace, observer)
        states.append(observer.states)
    steps = ("CatalogExampleGen", "StatisticsGen")
    assert [states[0][step] for step in steps] == ["done", "done"]
    assert [states[1][step] for step in steps] == ["cached", "cached"]
    assert not workspace.metadata.exists()
    for path in workspace.root.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()
    # As `seamline drift` looks into it.
    found = metadata_database.known(workspace)
    assert [kind.name for kind in found.get_context_types()].count("pipeline_run") == 1
    assert len(found.get_contexts_by_type("pipeline_run")) == 2


def test_a_database_is_one_workspaces(database: str, workspace: Workspace, tmp_path: Path) -> None:
    connection = metadata_database.claimed(workspace, database)
    assert metadata_database.claimed(workspace, database) == connection
    assert PASSWORD not in str(connection)
    other = Workspace(tmp_path / "other")
    other.create()
    with pytest.raises(UserError, match=rf"belongs to the workspace {workspace.root} \(of .*own"):
        metadata_database.claimed(other, database)
    assert metadata_database.known(other) is None
    # It stays the workspace's, wherever that is moved to.
    moved = Workspace(workspace.root.rename(tmp_path / "moved"))
    assert metadata_database.claimed(moved, database) == connection
    assert metadata_database.known(moved).get_context_by_type_and_name(
        "seamline.Workspace", "owner"
    )
    assert metadata_database.claimed(moved, None).sqlite.filename_uri == str(moved.metadata)
    assert metadata_database.known(moved) is None


def test_texts_come_back_as_they_were_noted(database: str, workspace: Workspace) -> None:
    store = metadata_database.opened(metadata_database.claimed(workspace, database))
    kind = metadata_store_pb2.ExecutionType(name="Trainer")
    kind.properties["declared"] = metadata_store_pb2.STRING
    kind = store.put_execution_type(kind)
    texts = [
        r'{"a": "{\"b\": \"\\u00fc\"}"}',
        "\\",
        "a\\'b\\",
        "'",
        "''",
        'ü\n\t"',
        "%s $1 :x;--",
        "",
    ]
    for number, text in enumerate(texts):
        execution = metadata_store_pb2.Execution(type_id=kind, name=f"{number}")
        execution.properties["declared"].string_value = text
        execution.custom_properties["custom"].string_value = text
        before = metadata_store_pb2.Execution.FromString(execution.SerializeToString())
        [written] = store.put_executions([execution])
        assert execution == before, "what is handed over stays as it is"
        [found] = store.get_executions_by_id([written])
        assert found.properties["declared"].string_value == text
        assert found.custom_properties["custom"].string_value == text
    artifact = metadata_store_pb2.ArtifactType(name="Model")
    made = metadata_store_pb2.Artifact(type_id=store.put_artifact_type(artifact), uri="/a\\b")
    store.put_artifacts([made])
    [found] = store.get_artifacts_by_uri("/a\\b")
    assert found.uri == "/a\\b"


def test_a_database_of_something_else_is_refused(database: str, workspace: Workspace) -> None:
    connection = metadata_database.claimed(workspace, f"{database}_probe")
    connection.postgresql.dbname = database.rpartition("/")[2]
    store = metadata_store.MetadataStore(connection)
    store.put_context_type(metadata_store_pb2.ContextType(name="system.Pipeline"))
    with pytest.raises(UserError, match="has what others than Seamline noted in it. Name an empty"):
        metadata_database.claimed(workspace, database)


def test_who_may_not_in_is_told_without_the_password(
    database: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "of another")
    with pytest.raises(UserError, match="does not let seamline into .* Set PGPASSWORD") as told:
        metadata_database.claimed(workspace, database)
    assert "of another" not in str(told.value)


def test_a_server_that_is_away_is_told(workspace: Workspace) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(UserError, match=f"does not answer at 127.0.0.1:{port} .Connection refused"):
        metadata_database.claimed(workspace, f"postgresql://seamline@127.0.0.1:{port}/shop")
    assert not Path(workspace.identity).exists()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"postgresql://me:{PASSWORD.split()[0]}@host/shop", "as PGPASSWORD, or into ~/.pgpass"),
        ("postgresql://me@host/shop?sslmode=require", "without options"),
        ("postgresql://me@host", "must be written as postgresql://USER@HOST:PORT/DATABASE"),
        ("postgresql://me@host:port/shop", "must be written as"),
        ("mysql://me@host/shop", "must be written as"),
        ("/var/lib/shop", "must be written as"),
    ],
)
def test_a_url_that_is_none_is_told_without_its_password(
    tmp_path: Path, url: str, told: str
) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text(
        "catalog: {folder: shop, category: a, subcategory: b}\n"
        f"metadata: {{postgresql: '{url}'}}\n"
    )
    with pytest.raises(UserError, match=told) as error:
        load_config(config)
    assert PASSWORD.split()[0] not in str(error.value)


def test_the_port_may_be_left_out(tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text(
        "catalog: {folder: shop, category: a, subcategory: b}\n"
        "metadata: {postgresql: 'postgresql://me@host/shop'}\n"
    )
    assert load_config(config).metadata.postgresql == "postgresql://me@host:5432/shop"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_only_this_pipelines_steps_are_taken_for_killed(
    kind: str, workspace: Workspace, request: pytest.FixtureRequest
) -> None:
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.local_runner import forget_killed_steps

    Execution = metadata_store_pb2.Execution
    named = request.getfixturevalue("database") if kind == "postgresql" else None
    connection = metadata_database.claimed(workspace, named)
    store = metadata_store.MetadataStore(connection)
    step = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    context = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline"))
    ids = {}
    for pipeline in ("shop", "shoes"):
        for state in (Execution.RUNNING, Execution.NEW, Execution.COMPLETE, Execution.CACHED):
            execution = Execution(type_id=step, last_known_state=state)
            of = metadata_store_pb2.Context(type_id=context, name=pipeline)
            number, _, _ = store.put_execution(
                execution, [], [of], reuse_context_if_already_exist=True
            )
            ids[pipeline, state] = number
            (workspace.artifacts / "Trainer" / "model" / str(number)).mkdir(parents=True)
    pipeline = Pipeline(
        pipeline_name="shop",
        pipeline_root=str(workspace.artifacts),
        components=[],
        metadata_connection_config=connection,
    )
    forget_killed_steps(pipeline)
    killed = {("shop", Execution.RUNNING), ("shop", Execution.NEW)}
    for (name, state), number in ids.items():
        [found] = store.get_executions_by_id([number])
        was_killed = (name, state) in killed
        assert found.last_known_state == (Execution.FAILED if was_killed else state), (name, state)
        there = (workspace.artifacts / "Trainer" / "model" / str(number)).exists()
        assert there is not was_killed
