"""The folder that holds everything of one catalog's runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.config import Catalog
from schema.catalog import catalog_schema, write_schema
from schema.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Delete `root` and nothing of its runs is left."""

    root: Path

    @property
    def metadata(self) -> Path:
        """ML Metadata's SQLite file."""
        return self.root / "metadata.sqlite"

    @property
    def artifacts(self) -> Path:
        """What the steps wrote: `<step>/<output>/<execution>/`."""
        return self.root / "artifacts"

    @property
    def training(self) -> Path:
        """State of unfinished trainings, from which a killed run goes on."""
        return self.root / "training"

    @property
    def answers(self) -> Path:
        """What an unfinished asking of a model has so far, from which a killed run goes on."""
        return self.root / "answers"

    @property
    def features(self) -> Path:
        """What the label review computes of every picture once, and keeps from run to run."""
        return self.root / "features"

    @property
    def serving(self) -> Path:
        """Pushed models, as TensorFlow Serving loads them: `<model>/<version>/`."""
        return self.root / "serving"

    @property
    def report(self) -> Path:
        """The last run's report, `index.html`."""
        return self.root / "report"

    @property
    def label_review(self) -> Path:
        """The labels that are probably wrong, as of the last run that looked for them."""
        return self.root / "label_review.csv"

    @property
    def last_schema(self) -> Path:
        """The schema that the last run checked its data against."""
        return self.root / "schema" / "last.pbtxt"

    @property
    def log(self) -> Path:
        """One log file a run, with what the libraries had to say."""
        return self.root / "log"

    def create(self) -> None:
        """Makes the folder.

        Raises:
          UserError: it cannot be written to; or its path has a letter that is a wildcard to TFX,
            which hands paths to what looks for patterns.
        """
        if found := re.search(r"[*?\[\\]", str(self.root)):
            raise UserError(
                f"The workspace {self.root} has `{found[0]}` in its path, by which TFX would look "
                "for other folders. Name one without *, ?, [ and \\ with --workspace."
            )
        try:
            self.log.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The workspace {self.root} cannot be written: {error.strerror}. "
                "Name another folder with --workspace."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out of this workspace.

        Raises:
          UserError: another process is running here.
        """
        with open(self.root / ".lock", "a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise UserError(
                    f"Another run (process {lock.read().strip() or 'unknown'}) is at work in "
                    f"{self.root}. Wait for it, or name another folder with --workspace."
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def write_schema(self, catalog: Catalog) -> tuple[Path, schema_pb2.Schema]:
        """Writes the schema of `catalog` and returns its file and the schema.

        The file's name holds a hash of the content: ImportSchemaGen's result is cached by name.

        Raises:
          UserError: `catalog.schema_file` cannot be read.
        """
        schema = catalog_schema(
            catalog.slices, catalog.schema_file, several_pictures=catalog.several_pictures
        )
        content = hashlib.sha256(schema.SerializeToString(deterministic=True)).hexdigest()
        path = self.root / "schema" / f"catalog-{content[:12]}.pbtxt"
        if not path.exists():
            # What a full disk leaves must not be taken for the schema later.
            unfinished = path.with_name(f".{path.name}")
            write_schema(schema, unfinished)
            unfinished.replace(path)
        return path, schema

    def remember_schema(self, catalog: Catalog) -> None:
        """Makes the schema of `catalog` the `last_schema`."""
        path, _ = self.write_schema(catalog)
        unfinished = self.last_schema.with_name(f".{self.last_schema.name}")
        shutil.copyfile(path, unfinished)
        unfinished.replace(self.last_schema)
