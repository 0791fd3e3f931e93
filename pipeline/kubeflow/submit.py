"""Starts a compiled pipeline on a cluster's Kubeflow Pipelines, and follows it to its end."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp
import kfp_server_api
import urllib3

from pipeline.kubeflow.spec import Spec
from schema.errors import UserError

EXPERIMENT = "seamline"

TOKEN = "KFP_TOKEN"  # noqa: S105
"""Environment variable that may hold a bearer token."""

_SECONDS_BETWEEN_LOOKS = 5.0
_SECONDS_TO_CONNECT = 10.0
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})


@dataclass(frozen=True)
class Started:
    """A run that the backend has taken.

    Attributes:
        id: The backend's.
        page: The address that people look at it at.
    """

    id: str
    page: str


class Host:
    """A Kubeflow Pipelines API.

    Args:
        url: Its address, as a browser opens its page.
        namespace: Of the user, where the installation has several.
        token: Bearer token, where it wants one.

    Raises:
        UserError: It is no URL, or nobody answers there.
    """

    def __init__(self, url: str, namespace: str | None = None, token: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._namespace = namespace
        _require_api(self._url, token)
        with _clear_errors(self._url):
            self._client = kfp.Client(
                host=self._url, namespace=namespace or "kubeflow", existing_token=token
            )

    def start(self, spec: Spec) -> Started:
        """Starts a run.

        Raises:
            UserError: The backend refuses it, or does not answer.
        """
        with _in_file(spec.to_yaml()) as file, _clear_errors(self._url):
            experiment = self._client.create_experiment(EXPERIMENT, namespace=self._namespace)
            run = self._client.run_pipeline(
                experiment.experiment_id,
                f"{spec.name} {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}",
                str(file),
                params=dict(spec.parameters),
                pipeline_root=spec.root,
            )
        return Started(run.run_id, f"{self._url}/#/runs/details/{run.run_id}")

    def repeat(self, package: str, name: str, cron: str) -> str:
        """Has a pipeline started again and again; returns the backend's id of that.

        Args:
            package: What is started, see `again.recurring`.
            name: What people see.
            cron: When, as the backend writes it: seconds, minutes, hours, day of the month, month,
                day of the week.

        Raises:
            UserError: The backend refuses it, or does not answer.
        """
        with _in_file(package) as file, _clear_errors(self._url):
            experiment = self._client.create_experiment(EXPERIMENT, namespace=self._namespace)
            made = self._client.create_recurring_run(
                experiment.experiment_id,
                name,
                cron_expression=cron,
                # A machine that was off does not train once for every week that it missed.
                no_catchup=True,
                max_concurrency=1,
                pipeline_package_path=str(file),
            )
        return made.recurring_run_id

    def follow(self, run: Started, tell: Callable[[str, str], None]) -> str:
        """Waits for a run's end; returns its state.

        Args:
            run: Which one.
            tell: Called with a task's name and state whenever that changes.

        Raises:
            UserError: The backend does not answer any more.
        """
        known: Mapping[str, str] = {}
        while True:
            with _clear_errors(self._url):
                found = self._client.get_run(run.id)
            states = _states(found)
            for task, state in states.items():
                if known.get(task) != state:
                    tell(task, state)
            known = states
            if found.state in _ENDED:
                return found.state
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def _in_file(package: str) -> Iterator[Path]:
    """A package as the client takes it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.yaml")
        file.write_text(package, encoding="utf-8")
        yield file


def _states(run: Any) -> dict[str, str]:
    """The state of every task that has begun, but for those of the backend's own."""
    details = (run.run_details and run.run_details.task_details) or []
    return {
        task.display_name: task.state
        for task in details
        if task.state and task.display_name and not task.display_name.endswith("-driver")
    }


def _require_api(url: str, token: str | None) -> None:
    """Asks once whether the API is there; the client itself would ask for half a minute."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"--host {url} is no address; write it as http://HOST:PORT.")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = urllib3.request(
            "GET",
            f"{url}/apis/v2beta1/healthz",
            headers=headers,
            timeout=_SECONDS_TO_CONNECT,
            retries=False,
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UserError(
            f"Kubeflow Pipelines does not answer at {url} ({error}). Check the address; from "
            "outside the cluster, `kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80` "
            "brings it to http://localhost:8080."
        ) from error
    if answer.status != HTTPStatus.OK:
        raise _refusal(url, answer.status, answer.data.decode(errors="replace"))
    if "json" not in answer.headers.get("content-type", ""):
        raise UserError(
            f"What answers at {url} is not the API of Kubeflow Pipelines, but a page, perhaps to "
            f"log in at. Give a token in {TOKEN}, or the address of the API itself."
        )


def _refusal(url: str, status: int, said: str) -> UserError:
    hints = {
        HTTPStatus.UNAUTHORIZED: f" Give a token in {TOKEN}.",
        HTTPStatus.FORBIDDEN: f" Check the token in {TOKEN}, and --namespace.",
    }
    words = " ".join(said.split())[:500].removesuffix(".")
    hint = hints.get(HTTPStatus(status), "") if status in set(HTTPStatus) else ""
    return UserError(f"Kubeflow Pipelines at {url} refuses ({status}): {words}.{hint}")


@contextmanager
def _clear_errors(url: str) -> Iterator[None]:
    try:
        # The client tells of its links by itself.
        with redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        raise _refusal(url, error.status or 0, str(error.body or error.reason)) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise UserError(f"Kubeflow Pipelines at {url} does not answer: {error}.") from error
