"""How the data steps are computed, and on which machines."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.section import Positive, Section


def _address(value: str) -> str:
    if not re.fullmatch(r"(\[[\da-fA-F:.]+\]|[^\s/:\[\]]+):\d{1,5}", value):
        raise ValueError("it must be host:port, for example localhost:8099")
    return value


def _web_address(value: str) -> str:
    if not re.fullmatch(r"(https?://)?(\[[\da-fA-F:.]+\]|[^\s/:\[\]]+)(:\d{1,5})?/?", value):
        raise ValueError("it must be host:port or http://host:port, for example localhost:8081")
    return value


def _bucket(value: str) -> str:
    if not re.fullmatch(r"gs://[a-z0-9][-_.a-z0-9]+[a-z0-9](/.*)?", value):
        raise ValueError("it must be a folder of Cloud Storage, for example gs://bucket/temp")
    return value


Address = Annotated[str, AfterValidator(_address)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Bucket = Annotated[str, AfterValidator(_bucket)]

_NEEDED = {
    "local": {},
    "portable": {"job_endpoint": "host:port of the job server, for example localhost:8099"},
    "flink": {"flink_master": "host:port of Flink's REST service, for example flink-rest:8081"},
    "spark": {"spark_master_url": "that of the cluster, for example spark://spark-master:7077"},
    "dataflow": {
        "project": "your Google Cloud project",
        "region": "where the workers start, for example europe-west1",
        "temp_location": "a folder of Cloud Storage, for example gs://bucket/temp",
        "sdk_container_image": "the image that has Seamline, for example "
        "europe-docker.pkg.dev/project/images/seamline:0.1.0",
    },
}
"""What each runner cannot do without, and what it may be set to."""

_CONFIGS = {
    "EXTERNAL": "host:port of the worker pool, for example localhost:50000",
    "DOCKER": "the image that has Seamline",
    "PROCESS": 'JSON with the command that starts a worker: {"command": "/opt/apache/beam/boot"}',
}
"""What `environment_config` is for each `environment_type`."""


class Beam(Section):
    """How the data steps are computed; options are named as Apache Beam names them."""

    runner: Literal["local", "portable", "flink", "spark", "dataflow"] = Field(
        "local",
        description="What computes the data steps: `local` this machine, `portable` whatever is "
        "behind a job server of Beam's, and Flink, Spark or Dataflow. Options of the others are "
        "not looked at.",
    )
    workers: Positive = Field(1, description="`local`: processes that read pictures in parallel.")
    job_endpoint: Address | None = Field(
        None, description="`portable`: host:port of the job server."
    )
    artifact_endpoint: Address | None = Field(
        None,
        description="`portable`: host:port of the job server's artifact service, where it is not "
        "where the job server says.",
    )
    environment_type: Literal["EXTERNAL", "PROCESS", "DOCKER", "LOOPBACK"] = Field(
        "EXTERNAL",
        description="`portable`, `flink`, `spark`: how a machine starts its workers: `EXTERNAL` "
        "asks a worker pool, `PROCESS` runs a command, `DOCKER` an image, and `LOOPBACK` has this "
        "process be the worker, as a trial.",
    )
    environment_config: str | None = Field(
        None,
        description="For `EXTERNAL` host:port of the pool, as the machines of the cluster see it; "
        "for `PROCESS` JSON with its `command`; for `DOCKER` the image.",
    )
    environment_cache_millis: int = Field(
        600_000,
        ge=0,
        description="`portable`, `flink`, `spark`: milliseconds for which a worker waits for more "
        "to do, for each new one imports TensorFlow anew.",
    )
    sdk_worker_parallelism: int = Field(
        1,
        ge=0,
        description="`portable`, `flink`, `spark`: processes that a worker machine computes in; 0 "
        "leaves it to the runner.",
    )
    flink_master: WebAddress | None = Field(
        None, description="`flink`: host:port of the REST service."
    )
    flink_version: Literal["1.19", "1.20", "2.0", "2.1", "2.2"] = Field(
        "1.20", description="`flink`: the cluster's version."
    )
    flink_submit_uber_jar: bool = Field(
        True,
        description="`flink`: send the job to the cluster in one file; else a job server is "
        "started on this machine, which must have Java.",
    )
    flink_job_server_jar: str | None = Field(
        None, description="`flink`: Beam's job server for it, a path or a URL; else it is fetched."
    )
    parallelism: Positive | None = Field(
        None, description="`flink`: how many tasks compute at a time; the cluster's by default."
    )
    max_parallelism: Positive | None = Field(
        None, description="`flink`: the most that `parallelism` may be raised to."
    )
    spark_master_url: str | None = Field(None, description="`spark`: URL of the master.")
    spark_submit_uber_jar: bool = Field(
        False,
        description="`spark`: send the job to `spark_rest_url` in one file; else a job server is "
        "started on this machine, which must have Java.",
    )
    spark_rest_url: WebAddress | None = Field(
        None, description="`spark`: URL of the REST service that takes jobs."
    )
    spark_job_server_jar: str | None = Field(
        None, description="`spark`: Beam's job server for it, a path or a URL; else it is fetched."
    )
    project: str | None = Field(None, description="`dataflow`: the Google Cloud project.")
    region: str | None = Field(None, description="`dataflow`: where the workers are.")
    temp_location: Bucket | None = Field(
        None, description="`dataflow`: folder of Cloud Storage for what is between the stages."
    )
    staging_location: Bucket | None = Field(
        None, description="`dataflow`: folder of Cloud Storage for the job; `temp_location` else."
    )
    sdk_container_image: str | None = Field(
        None, description="`dataflow`: the workers' image, which has Seamline in it."
    )
    service_account_email: str | None = Field(
        None, description="`dataflow`: whom the workers act for; the project's own by default."
    )
    num_workers: Positive | None = Field(None, description="`dataflow`: workers at the start.")
    max_num_workers: Positive | None = Field(None, description="`dataflow`: the most workers.")
    machine_type: str | None = Field(None, description="`dataflow`: the workers' machine.")
    disk_size_gb: Positive | None = Field(None, description="`dataflow`: gigabytes of their disk.")
    subnetwork: str | None = Field(None, description="`dataflow`: the network that they are in.")
    use_public_ips: bool = Field(
        True, description="`dataflow`: whether they have addresses outside of their network."
    )

    @model_validator(mode="after")
    def _runner_has_what_it_needs(self) -> Beam:
        needed = dict(_NEEDED[self.runner])
        if self.runner == "spark" and self.spark_submit_uber_jar:
            needed = {"spark_rest_url": "that of the cluster, for example http://spark-master:6066"}
        if self.has_environment and self.environment_type in _CONFIGS:
            needed["environment_config"] = _CONFIGS[self.environment_type]
        for option, what in needed.items():
            if not getattr(self, option):
                raise ValueError(f"the runner {self.runner} needs {option}; set it to {what}")
        if self.has_environment:
            self._check_environment()
        if self.num_workers and self.max_num_workers and self.num_workers > self.max_num_workers:
            raise ValueError(
                f"num_workers is {self.num_workers} and max_num_workers {self.max_num_workers}; "
                "the first must not be larger"
            )
        return self

    @property
    def has_environment(self) -> bool:
        """Whether `environment_type` and what belongs to it are read by the runner."""
        return self.runner in ("portable", "flink", "spark")

    def _check_environment(self) -> None:
        told = f"environment_config for {self.environment_type} is"
        if self.environment_type == "EXTERNAL":
            try:
                _address(self.environment_config)
            except ValueError as error:
                raise ValueError(f"{told} {self.environment_config!r}; {error}") from error
        if self.environment_type == "LOOPBACK" and self.environment_config:
            raise ValueError("environment_config has no use for LOOPBACK; leave it out")
        if self.environment_type == "PROCESS":
            try:
                command = json.loads(self.environment_config)["command"]
            except (ValueError, KeyError, TypeError):
                command = None
            if not isinstance(command, str) or not command:
                raise ValueError(
                    f"{told} {self.environment_config!r}; it must be {_CONFIGS['PROCESS']}"
                )
