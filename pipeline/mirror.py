"""What a run on this machine keeps in step with its workspace in a bucket.

Artifacts, ledger and pushed versions lie in the bucket. What needs a real file system has a copy
here: ML Metadata's file, which is written back before and after every step; what steps go on from
when they were killed, which is written back while they run; and the artifacts that steps of this
machine read and write, which are fetched and sent whole.

Nothing is taken from an earlier copy that the bucket does not have, so any machine goes on where
the last one was, and a copy may be deleted at any time.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attr
from tfx import types
from tfx.orchestration.portable import data_types, launcher, outputs_utils
from tfx.proto.orchestration import executable_spec_pb2, execution_result_pb2

from components import gcs, storage
from components.report.runs import METRICS_FILE
from pipeline import beam_runner
from pipeline.copies import Copies
from pipeline.workspace import Workspace, copies
from schema.errors import UserError

SECONDS_BETWEEN_LOOKS = 10.0
"""How often is looked for what a step that runs could go on from."""

_KEPT = ("training", "answers", "features")
"""Folders of a workspace for what killed steps go on from, and what is kept from run to run."""

_READ_HERE = (
    *("statistics", "schema", "anomalies", "verdict", "transform_graph", "best_hyperparameters"),
    *("model_run", "evaluation", "judgement", "report", "label_review"),
)
"""Outputs of steps that the runner itself reads."""


class Mirror:
    """A workspace in a bucket, and its copy here.

    Args:
        workspace: Whose lock is held.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.copies = copies()
        self._url = str(workspace.url)
        self._metadata = f"{self._url}/{workspace.metadata.name}"
        self._generation = 0
        self._digest = b""
        self._kept = [_Kept(f"{self._url}/{name}", self.copies) for name in _KEPT]

    def begin(self) -> None:
        """Has ML Metadata's file and what killed steps go on from as the bucket has them.

        Raises:
            OSError, UserError: They cannot be read.
        """
        self._generation, content = gcs.read_generation(self._metadata)
        with suppress(FileNotFoundError):
            self.workspace.metadata.unlink()
        if content:
            storage.write_whole(str(self.workspace.metadata), content)
            self._digest = hashlib.sha256(content).digest()
        for kept in self._kept:
            kept.fetch()

    def write_metadata(self) -> None:
        """Has the bucket know what ML Metadata's file says, if there is one.

        Raises:
            OSError: It cannot be written.
            UserError: Another run has written it, which no run does that this one's lock keeps out.
        """
        if not self.workspace.metadata.is_file():
            return
        content = _snapshot(self.workspace.metadata)
        digest = hashlib.sha256(content).digest()
        if digest == self._digest:
            return
        generation = gcs.write_generation(self._metadata, content, self._generation)
        if generation is None:
            raise UserError(
                f"Another run has written {self._metadata} while this one was asleep. Run the "
                "same command again: what was finished is kept."
            )
        self._generation, self._digest = generation, digest

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Writes back, while a step runs, what it could go on from when it is killed."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(SECONDS_BETWEEN_LOOKS):
                # A run needs none of it; what is wrong with the bucket, its end will tell.
                with suppress(OSError, UserError):
                    self._look()

        thread = threading.Thread(target=look, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._look()

    def _look(self) -> None:
        for kept in self._kept:
            kept.send()

    def options_here(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A step's options, with the folders of `_KEPT` by their paths here.

        Options have their URLs, so that what they say, and the cache goes by, is the same on every
        machine.
        """
        here = dict(options)
        for name in _KEPT:
            path = json.dumps(str(self.workspace.root / name))[1:-1]
            for key, value in here.items():
                if isinstance(value, str):
                    here[key] = value.replace(f"{self._url}/{name}", path)
        return here

    def read_here(self, outputs: Mapping[str, Sequence[types.Artifact]]) -> None:
        """Gives a step's outputs the paths of their copies, and makes those that are read here."""
        for key, artifacts in outputs.items():
            for artifact in artifacts:
                if key in _READ_HERE:
                    self.copies.fetch(artifact.uri)
                artifact.uri = self.copies.of(artifact.uri)

    def fetched(self, path: str) -> str:
        """The path of a copy, which is made as well."""
        return self.copies.fetch(self.copies.origin(path))

    def fetch_beside(self, uri: str, name: str) -> None:
        """Has a file of a step's earlier outputs here, beside the copy of what it writes now."""
        folder = uri.rpartition("/")[0]
        for file in storage.files(folder):
            path = Path(self.copies.of(folder), file)
            if file.split("/")[1:] == [name] and not path.exists():
                storage.copy(f"{folder}/{file}", str(path))

    def remove_halves(self, execution: int) -> None:
        """Deletes what an execution that was killed has written."""
        root = f"{self._url}/artifacts"
        below = [name.split("/")[:3] for name in storage.files(root)]
        for folder in {"/".join(parts) for parts in below if parts[2:] == [str(execution)]}:
            self.copies.remove(f"{root}/{folder}")

    def publish(self, source: Path, files: str) -> None:
        """Puts a report into the bucket, where people look for the last run's.

        Args:
            source: Its folder here.
            files: How the names of folders begin that pages read.
        """
        target = f"{self._url}/report"
        earlier = storage.files(target)
        # A page comes after what it reads, in folders that are named by what is in them.
        for name in sorted(storage.files(str(source)), key=lambda name: ("/" not in name, name)):
            if "/" not in name or name not in earlier:
                storage.copy(f"{source}/{name}", f"{target}/{name}")
        for old in {name.partition("/")[0] for name in earlier}:
            if old.startswith(files) and not (source / old).exists():
                storage.remove_folder(f"{target}/{old}")

    def write(self, file: Path) -> None:
        """Puts a file of the workspace's copy into the bucket."""
        if file.is_file():
            storage.copy(
                str(file), f"{self._url}/{file.relative_to(self.workspace.root).as_posix()}"
            )


@contextmanager
def mirrored(workspace: Workspace) -> Iterator[Mirror | None]:
    """The mirror of a workspace in a bucket, for a run there; None for a folder.

    Raises:
        UserError: What a step says, with the bucket's URLs in place of paths of copies.
    """
    if workspace.url is None:
        yield None
        return
    mirror = Mirror(workspace)
    try:
        mirror.begin()
        yield mirror
    except UserError as error:
        raise UserError(mirror.copies.in_words(str(error))) from error


class MirroredLauncher(launcher.Launcher):
    """TFX's, of a step whose artifacts lie in a bucket.

    The step reads and writes copies here. Only where its Beam workers are other machines, which see
    nothing of this one's, it reads and writes the bucket; the steps that cannot are computed here.
    """

    def __init__(self, mirror: Mirror, **given: Any) -> None:
        spec = given.get("executor_spec")
        self._in_bucket = False
        if isinstance(spec, executable_spec_pb2.BeamExecutableSpec):
            self._in_bucket, arguments = beam_runner.in_a_bucket(
                spec.beam_pipeline_args, spec.python_executor_spec.class_path
            )
            del spec.beam_pipeline_args_placeholders[:]
            for argument in arguments:
                spec.beam_pipeline_args_placeholders.add().value.string_value = argument
        super().__init__(**given)
        self._mirror = mirror
        self._output_resolver = _Outputs(
            mirror, given["pipeline_node"], given["pipeline_info"], given["pipeline_runtime_spec"]
        )

    def _run_executor(
        self, execution_info: data_types.ExecutionInfo
    ) -> execution_result_pb2.ExecutorOutput:
        mirror, places = self._mirror, self._mirror.copies
        outputs = [one for of in execution_info.output_dict.values() for one in of]
        # From here on others know of the step, and delete what it has written when it is killed.
        mirror.write_metadata()
        for artifact in outputs:
            places.remove(artifact.uri)
        if self._pipeline_node.node_info.id == "Report":
            # Its page shows the workspace's runs.
            mirror.fetch_beside(outputs[0].uri, METRICS_FILE)
        if self._in_bucket:
            return super()._run_executor(execution_info)
        here = attr.evolve(
            execution_info,
            input_dict=_with_uris(execution_info.input_dict, places.fetch),
            output_dict=_with_uris(execution_info.output_dict, places.of),
            exec_properties=mirror.options_here(execution_info.exec_properties),
        )
        with mirror.keeping():
            told = super()._run_executor(here)
        for artifact in outputs:
            places.send(artifact.uri)
        for of in told.output_artifacts.values():
            for one in of.artifacts:
                one.uri = places.origin(one.uri)
                for value in one.custom_properties.values():
                    if value.HasField("string_value"):
                        value.string_value = places.origin(value.string_value)
        return told


class _Outputs(outputs_utils.OutputsResolver):
    """Outputs are in the bucket; what a step throws away again is here."""

    def __init__(self, mirror: Mirror, *given: Any) -> None:
        super().__init__(*given)
        self._there = str(self._node_dir)
        self._node_dir: str = mirror.copies.of(self._there)

    def generate_output_artifacts(self, execution_id: int) -> dict[str, list[types.Artifact]]:
        return outputs_utils.generate_output_artifacts(
            execution_id=execution_id,
            outputs=self._pipeline_node.outputs.outputs,
            node_dir=self._there,
        )


class _Kept:
    """A folder for what killed steps go on from, which is written back as it changes.

    Args:
        url: In the bucket.
        copies: Where its copy is.
    """

    def __init__(self, url: str, copies: Copies) -> None:
        self._url, self._copies = url, copies
        self._folder = Path(copies.of(url))
        self._sent: dict[str, str] | None = None

    def fetch(self) -> None:
        """Has the copy as the bucket has it, or as this machine went on from there."""
        self._copies.fetch(self._url)
        self._sent = self._stamps() if self._copies.is_as_noted(self._url) else None

    def send(self) -> None:
        """Has the bucket hold what is whole here, and nothing else.

        JSON, which says what the other files are, comes last, as it was before they were read. What
        is gone by then is of a state that is not the last any more: the next look finds that.
        """
        now = self._stamps()
        if now == self._sent:
            return
        before = self._sent or {}
        changed = [name for name, stamp in now.items() if before.get(name) != stamp]
        try:
            last = {
                name: (self._folder / name).read_bytes()
                for name in changed
                if name.endswith(".json")
            }
            for name in changed:
                if name not in last:
                    storage.copy(f"{self._folder}/{name}", f"{self._url}/{name}")
        except FileNotFoundError:
            return
        for name, content in last.items():
            storage.write_whole(f"{self._url}/{name}", content)
        gone = [name for name in storage.files(self._url) if name not in now]
        storage.remove_files([f"{self._url}/{name}" for name in gone])
        self._copies.note(self._url)
        self._sent = now

    def _stamps(self) -> dict[str, str]:
        found = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                if "unfinished" not in name:
                    with suppress(FileNotFoundError):
                        found[path.relative_to(self._folder).as_posix()] = storage.local_stamp(
                            path.stat()
                        )
        return found


def _with_uris(
    artifacts: Mapping[str, Sequence[types.Artifact]], uri_of: Any
) -> dict[str, list[types.Artifact]]:
    """Copies of artifacts with other URIs."""
    others = copy.deepcopy({key: list(of) for key, of in artifacts.items()})
    for of in others.values():
        for artifact in of:
            artifact.uri = uri_of(artifact.uri)
    return others


def _snapshot(database: Path) -> bytes:
    """The content of an SQLite file, whole even where somebody writes it."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "snapshot")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        return path.read_bytes()
