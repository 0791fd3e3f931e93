"""Where everything of one catalog's runs lies: a folder here, or one that a cluster knows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tensorflow_metadata.proto.v0 import schema_pb2

from components import storage
from pipeline import workspace_lock
from pipeline.copies import Copies
from schema.catalog import schema_text
from schema.errors import UserError


class Places(Protocol):
    """Where the steps of a run read and write, by paths or URLs that mean the same to all of them.

    Attributes:
        artifacts: What the steps wrote.
        ledger: What earlier runs passed, blessed and pushed: see `components.ledger`.
        serving: Pushed models, as TensorFlow Serving loads them: `<model>/<version>/`.
        training: State of unfinished trainings, from which a killed run goes on.
        answers: What an unfinished asking of a model has so far, likewise.
        features: What the label review computes of every picture once, and keeps from run to run.
    """

    @property
    def artifacts(self) -> Path | str: ...  # noqa: D102 Told above, like all below.
    @property
    def ledger(self) -> Path | str: ...  # noqa: D102
    @property
    def serving(self) -> Path | str: ...  # noqa: D102
    @property
    def training(self) -> Path | str: ...  # noqa: D102
    @property
    def answers(self) -> Path | str: ...  # noqa: D102
    @property
    def features(self) -> Path | str: ...  # noqa: D102


@dataclass(frozen=True)
class BucketPlaces:
    """The `Places` of runs whose steps share an object store.

    Args:
        root: URL of the folder that holds everything.
        scratch: Path or URL of the folder for what a killed step goes on from.
        elsewhere: Whether Beam's workers are other machines than the steps'.
    """

    root: str
    scratch: str
    elsewhere: bool = False

    @property
    def artifacts(self) -> str:  # noqa: D102 As in `Places`, like all below.
        return f"{self.root}/artifacts"

    @property
    def ledger(self) -> str:  # noqa: D102
        return f"{self.root}/ledger"

    @property
    def serving(self) -> str:  # noqa: D102
        return f"{self.root}/serving"

    @property
    def training(self) -> str:  # noqa: D102
        return f"{self.scratch}/training"

    @property
    def answers(self) -> str:  # noqa: D102
        # Workers write it, so it is where they can.
        return f"{self.root if self.elsewhere else self.scratch}/answers"

    @property
    def features(self) -> str:  # noqa: D102
        return f"{self.scratch}/features"


@dataclass(frozen=True)
class Workspace:
    """Paths of one workspace. Delete `root` and nothing of its runs is left.

    Args:
        root: The folder; of a workspace in a bucket, its copy on this machine.
        url: Of the folder in a bucket.
    """

    root: Path
    url: str | None = None

    @classmethod
    def named(cls, name: Path) -> Workspace:
        """The workspace that a person names: by a path, or by a URL, which paths write shorter.

        Raises:
          UserError: it is a URL of what cannot be a workspace.
        """
        url = url_of(name)
        if url is None:
            return cls(name.absolute())
        if not re.fullmatch(r"gs://[^/]+(/.*)?", url):
            raise UserError(
                f"A workspace is a folder, or one in Cloud Storage, which {url} is not: nothing "
                "else tells whose write was first. Name a folder or gs://BUCKET/FOLDER with "
                "--workspace; catalog.folder and serving.push_to may be other URLs."
            )
        return cls(Path(copies().of(url)), url)

    @property
    def place(self) -> str:
        """The URL, or else the path, that people know it by."""
        return self.url or str(self.root)

    @property
    def places(self) -> Places:
        """Where the steps of its runs read and write."""
        return BucketPlaces(self.url, self.url) if self.url else self

    @property
    def metadata(self) -> Path:
        """ML Metadata's SQLite file."""
        return self.root / "metadata.sqlite"

    @property
    def identity(self) -> str:
        """By what its database knows this workspace, where it has one: `metadata_database`."""
        return f"{self.place}/workspace.json"

    @property
    def artifacts(self) -> Path:
        """What the steps wrote: `<step>/<output>/<execution>/`."""
        return self.root / "artifacts"

    @property
    def ledger(self) -> Path:
        """What earlier runs passed, blessed and pushed: see `components.ledger`."""
        return self.root / "ledger"

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
        if found := re.search(r"[*?\[\\]", self.place):
            raise UserError(
                f"The workspace {self.place} has `{found[0]}` in its path, by which TFX would look "
                "for other folders. Name one without *, ?, [ and \\ with --workspace."
            )
        if self.url:
            storage.check_writable(self.url)
        try:
            self.log.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "XDG_CACHE_HOME, where copies are," if self.url else "--workspace"
            raise UserError(
                f"The workspace {self.root} cannot be written: {error.strerror}. "
                f"Name another folder with {remedy}."
            ) from error

    def fetch(self, name: str) -> None:
        """Has a folder of the workspace here as the bucket has it, where it lies in one.

        Raises:
          UserError: the bucket cannot be read.
        """
        if self.url:
            storage.check_readable(self.url)
            copies().fetch(f"{self.url}/{name}")

    @contextmanager
    def locked(
        self, run: str = "", tell: Callable[[str], None] = lambda sentence: None
    ) -> Iterator[None]:
        """Keeps a second run out of this workspace, whichever machine it is on.

        Args:
          run: what others are told of this run.
          tell: is told why this takes time, where it does.

        Raises:
          UserError: another process is running here; or took over while this one was asleep.
        """
        lease = f"{self.url}/lock" if self.url else None
        with workspace_lock.held(self.root / "lock", run, url=lease, tell=tell):
            yield

    def remember_schema(self, schema: schema_pb2.Schema) -> None:
        """Makes a schema the `last_schema`."""
        storage.write_whole(str(self.last_schema), schema_text(schema).encode())


def url_of(name: Path) -> str | None:
    """The URL that was made a path, which has one slash less; None of any other path."""
    found = re.fullmatch(r"([a-z][a-z0-9+.-]+):/+([^/].*)", str(name))
    return f"{found[1]}://{found[2]}" if found else None


def copies() -> Copies:
    """The copies on this machine of what lies in buckets.

    Raises:
      UserError: this user has no folder for them.
    """
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise UserError(
            "This user has no home folder for the copies of what lies in the bucket. Name a "
            "folder in XDG_CACHE_HOME."
        ) from error
    return Copies(str(Path(cache, "seamline").absolute()))
