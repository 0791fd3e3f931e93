"""Which runner of Apache Beam's computes the data steps: its arguments, and what it has failed at.

Workers have Seamline installed, in one image with whatever starts the steps. So no step stages
anything: no main session, no package, no copy of TFX.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from components.storage import check_writable
from pipeline.config.beam import Beam
from pipeline.system_faults import causes
from schema.errors import UserError

# Where none is named, TFX packs itself up for a container of Beam's, and every step leaves a copy
# of 46 MB in the machine's temporary folder.
_NOTHING_STAGED = "--sdk_container_image=none"

# Beam would list what pip has installed, and stage the list.
_NO_LIST_STAGED = "--experiments=disable_logging_submission_environment"

# What Beam calls the wait for an answer is how long the job itself may take where the job server
# knows it by one name from the beginning: its state is streamed, and the stream ends by then.
_JOBS_MAY_TAKE_A_MONTH = f"--job_server_timeout={30 * 24 * 3600}"

LOCAL = ["--runner=FnApiRunner", _NOTHING_STAGED]
"""Beam's arguments for one process of this machine: its default runner first tries to download
another one at every pipeline."""

_RUNNERS = {
    "portable": "PortableRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
}

_ENVIRONMENT = (
    "environment_type",
    "environment_config",
    "environment_cache_millis",
    "sdk_worker_parallelism",
)

_OPTIONS = {
    "portable": ("job_endpoint", "artifact_endpoint", *_ENVIRONMENT),
    "flink": (
        "flink_master",
        "flink_version",
        "flink_submit_uber_jar",
        "flink_job_server_jar",
        "parallelism",
        "max_parallelism",
        *_ENVIRONMENT,
    ),
    "spark": (
        "spark_master_url",
        "spark_submit_uber_jar",
        "spark_rest_url",
        "spark_job_server_jar",
        *_ENVIRONMENT,
    ),
    "dataflow": (
        "project",
        "region",
        "temp_location",
        "staging_location",
        "sdk_container_image",
        "service_account_email",
        "num_workers",
        "max_num_workers",
        "machine_type",
        "disk_size_gb",
        "subnetwork",
        "use_public_ips",
    ),
}
"""The options of the config that each runner's arguments are made of, under the same names."""

_ON_DISK_ALONE = ("components.similarity_index.", "components.label_review.")
"""The data steps that read and write folders alone."""

_SECONDS_TO_ANSWER = 5
_LOST_WORKER = re.compile(
    r"SDK worker disconnected|SDK harness|worker.{0,40}(?:lost|disconnected)|get control connection"
    r"|process died|JobManager.{0,40}lost|TaskManager.{0,60}(?:lost|killed|timed out)",
    re.IGNORECASE,
)


def arguments(beam: Beam) -> list[str]:
    """Beam's arguments for every data step."""
    if beam.runner == "local":
        return [*LOCAL]
    made = [f"--runner={_RUNNERS[beam.runner]}", _NO_LIST_STAGED]
    if beam.runner != "dataflow":
        made += [_NOTHING_STAGED, _JOBS_MAY_TAKE_A_MONTH]
    for option in _OPTIONS[beam.runner]:
        value = getattr(beam, option)
        if option == "use_public_ips":
            made += [] if value else ["--no_use_public_ips"]
        elif value is True:
            made.append(f"--{option}")
        elif value is not None and value is not False:
            made.append(f"--{option}={value}")
    return made


def is_elsewhere(given: Sequence[str]) -> bool:
    """Whether workers of these arguments are other machines, which see nothing of this one's."""
    return any(f"--runner={runner}" in given for runner in _RUNNERS.values())


def in_a_bucket(given: Sequence[str], executor: str) -> tuple[bool, list[str]]:
    """How a step is computed whose artifacts lie in a bucket.

    Args:
        given: Beam's arguments for the step.
        executor: Path of its executor's class.

    Returns:
        Whether it reads and writes the bucket itself, because its workers are elsewhere, and not
        copies of this machine; and Beam's arguments.
    """
    elsewhere = is_elsewhere(given)
    if elsewhere and executor.startswith(_ON_DISK_ALONE):
        return False, [*LOCAL]
    return elsewhere, [*given]


def reading_arguments(beam: Beam) -> list[str]:
    """What the steps that read pictures are given besides `arguments`."""
    if beam.runner != "local" or beam.workers == 1:
        return []
    return [f"--direct_num_workers={beam.workers}", "--direct_running_mode=multi_processing"]


class _Service(NamedTuple):
    """What takes the jobs: the option that names it, its address, and what it is."""

    option: str
    host: str
    port: int
    what: str

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def check_service(beam: Beam, timeout_s: float = _SECONDS_TO_ANSWER) -> None:
    """Looks whether what takes the jobs can be reached from here.

    Raises:
        UserError: nobody answers within `timeout_s` seconds; or a folder of Cloud Storage into
            which a job for Dataflow goes first cannot be written.
    """
    if beam.runner == "dataflow":
        for folder in filter(None, (beam.temp_location, beam.staging_location)):
            check_writable(folder)
    service = _service(beam)
    if service is None:
        return
    try:
        socket.create_connection((service.host, service.port), timeout_s).close()
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise UserError(
            f"{service.what} does not answer at {service.address} ({why}), which "
            f"beam.{service.option} names; start it, name another address, or compute on this "
            "machine with --set beam.runner=local."
        ) from error


def failure(error: BaseException, beam: Beam) -> str | None:
    """What a runner past this machine has failed at, in a sentence; None for any other error."""
    service = _service(beam)
    if service is None:
        return None
    for each in causes(error):
        if _is_unreachable(each):
            return (
                f"{service.what} at {service.address} went away while a step was computed; look "
                "into its log, start it again, and run the same command again: what was finished "
                "is kept."
            )
        if isinstance(each, RuntimeError) and _LOST_WORKER.search(str(each)):
            return (
                f"{service.what} at {service.address} lost a worker while it computed a step; look "
                "into the worker's log, whether it was killed or had too little memory, and run "
                "the same command again: what was finished is kept."
            )
    return None


def _is_unreachable(error: BaseException) -> bool:
    """Whether it is gRPC's of a connection that is gone."""
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", "") in ("UNAVAILABLE", "CANCELLED")


def _service(beam: Beam) -> _Service | None:
    if beam.runner == "portable":
        return _named("job_endpoint", beam.job_endpoint, 8099, "Beam's job server")
    if beam.runner == "flink":
        return _named("flink_master", beam.flink_master, 8081, "Flink's REST service")
    if beam.runner == "spark" and beam.spark_submit_uber_jar:
        return _named("spark_rest_url", beam.spark_rest_url, 6066, "Spark's REST service")
    if beam.runner == "spark" and beam.spark_master_url.startswith("spark://"):
        return _named("spark_master_url", beam.spark_master_url, 7077, "Spark's master")
    return None


def _named(option: str, url: str, port: int, what: str) -> _Service:
    parts = urlsplit(url if "://" in url else f"//{url}")
    of_scheme = {"http": 80, "https": 443}.get(parts.scheme, port)
    return _Service(option, parts.hostname, parts.port or of_scheme, what)
