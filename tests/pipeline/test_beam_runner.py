"""What Beam is given for each runner, held against its own parsers, and what a lost one is told."""

import socket
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.options import pipeline_options as beam_options
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from apache_beam.runners.runner import create_runner
from apache_beam.transforms.environments import python_sdk_dependencies

from components import storage
from pipeline.beam_runner import (
    LOCAL,
    arguments,
    check_service,
    failure,
    in_a_bucket,
    reading_arguments,
)
from pipeline.config.beam import Beam
from pipeline.config.loading import load_config
from schema.errors import UserError

POOL = {"environment_config": "localhost:50000"}
PORTABLE = Beam(runner="portable", job_endpoint="jobs:8099", **POOL)
FLINK = Beam(runner="flink", flink_master="flink-rest:8081", parallelism=8, **POOL)
SPARK = Beam(runner="spark", spark_master_url="spark://spark-master:7077", **POOL)
DATAFLOW = Beam(
    runner="dataflow",
    project="our-shop",
    region="europe-west1",
    temp_location="gs://our-bucket/temp",
    sdk_container_image="images/seamline:0.1.0",
    max_num_workers=20,
)
EVERY = [Beam(), PORTABLE, FLINK, SPARK, DATAFLOW]
NAMES = ["local", "portable", "flink", "spark", "dataflow"]


def parsed(beam: Beam) -> beam_options.PipelineOptions:
    """What Beam makes of the arguments; SystemExit where it does not take one."""
    return beam_options.PipelineOptions(arguments(beam) + reading_arguments(beam))


@pytest.mark.parametrize("beam", EVERY, ids=NAMES)
def test_beam_knows_every_argument(beam):
    options = parsed(beam)
    known = options.get_all_options(drop_default=True)
    for argument in arguments(beam):
        name = argument.removeprefix("--").partition("=")[0].removeprefix("no_")
        assert name in known, argument


@pytest.mark.parametrize("beam", EVERY, ids=NAMES)
def test_beam_has_nothing_to_object_to(beam):
    options = parsed(beam)
    # Else it asks Google about the bucket, for minutes where nobody answers.
    options.view_as(beam_options.TestOptions).dry_run = True
    runner = create_runner(options.view_as(beam_options.StandardOptions).runner)
    assert PipelineOptionsValidator(options, runner).validate() == []


@pytest.mark.parametrize("beam", EVERY, ids=NAMES)
def test_nothing_is_staged_for_the_workers(beam, tmp_path):
    setup = parsed(beam).view_as(beam_options.SetupOptions)
    assert not setup.save_main_session
    assert not setup.setup_file
    assert not setup.extra_packages
    assert not setup.requirements_file
    assert python_sdk_dependencies(parsed(beam), str(tmp_path)) == []
    # Else TFX packs itself up.
    assert parsed(beam).view_as(beam_options.WorkerOptions).sdk_container_image


def test_an_environment_is_the_pool_beside_each_worker_machine():
    for runner in (PORTABLE, FLINK, SPARK):
        options = parsed(runner).view_as(beam_options.PortableOptions)
        assert options.environment_type == "EXTERNAL"
        assert options.environment_config == "localhost:50000"
        assert int(options.sdk_worker_parallelism) == 1
        assert int(options.environment_cache_millis) == 600_000


def test_flink_is_given_its_master_and_how_many_tasks():
    options = parsed(FLINK).view_as(beam_options.FlinkRunnerOptions)
    assert options.flink_master == "flink-rest:8081"
    assert options.flink_version == "1.20"
    assert options.flink_submit_uber_jar
    assert options.parallelism == 8
    assert options.max_parallelism == -1
    own_java = FLINK.model_copy(update={"flink_submit_uber_jar": False})
    assert not parsed(own_java).view_as(beam_options.FlinkRunnerOptions).flink_submit_uber_jar


def test_spark_is_given_its_master_or_the_service_that_takes_jobs():
    options = parsed(SPARK).view_as(beam_options.SparkRunnerOptions)
    assert options.spark_master_url == "spark://spark-master:7077"
    assert not options.spark_submit_uber_jar
    posted = Beam(
        runner="spark", spark_submit_uber_jar=True, spark_rest_url="http://spark:6066", **POOL
    )
    options = parsed(posted).view_as(beam_options.SparkRunnerOptions)
    assert options.spark_submit_uber_jar
    assert options.spark_rest_url == "http://spark:6066"


def test_dataflow_is_given_project_place_and_image():
    cloud = parsed(DATAFLOW).view_as(beam_options.GoogleCloudOptions)
    assert (cloud.project, cloud.region) == ("our-shop", "europe-west1")
    assert cloud.temp_location == "gs://our-bucket/temp"
    workers = parsed(DATAFLOW).view_as(beam_options.WorkerOptions)
    assert workers.sdk_container_image == "images/seamline:0.1.0"
    assert workers.max_num_workers == 20
    assert workers.use_public_ips is None
    inside = DATAFLOW.model_copy(update={"use_public_ips": False, "machine_type": "n2-highmem-4"})
    workers = parsed(inside).view_as(beam_options.WorkerOptions)
    assert workers.use_public_ips is False
    assert workers.machine_type == "n2-highmem-4"


def test_only_this_machine_is_told_of_its_processes():
    options = parsed(Beam(workers=3)).view_as(beam_options.DirectOptions)
    assert options.direct_num_workers == 3
    assert options.direct_running_mode == "multi_processing"
    assert reading_arguments(Beam()) == []
    assert reading_arguments(PORTABLE.model_copy(update={"workers": 3})) == []


def test_no_job_is_given_up_because_it_takes_long():
    granted_s = {}

    class Watched(LocalJobServicer):
        def GetStateStream(self, request, context=None, timeout=None):
            granted_s["state"] = context.time_remaining()
            return super().GetStateStream(request, context, timeout)

        def GetMessageStream(self, request, context=None, timeout=None):
            granted_s["messages"] = context.time_remaining()
            return super().GetMessageStream(request, context, timeout)

    jobs = Watched()
    port = jobs.start_grpc_server()
    try:
        here = {"job_endpoint": f"localhost:{port}", "environment_type": "LOOPBACK"}
        with beam.Pipeline(argv=arguments(Beam(runner="portable", **here))) as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Map(abs)
    finally:
        jobs.stop()
    assert set(granted_s) == {"state", "messages"}
    assert min(granted_s.values()) > 24 * 3600


@pytest.fixture
def load(tmp_path):
    """Reads a config whose section `beam` has these options."""

    def config(*options: str):
        path = Path(tmp_path / "shop.yaml")
        path.write_text("catalog: {folder: shop, category: kind, subcategory: type}\n")
        return load_config(path, [f"beam.{option}" for option in options])

    return config


@pytest.mark.parametrize(("options", "said"), [
    (["runner=portable"], "beam: the runner portable needs job_endpoint; set it to host:port of "
     "the job server, for example localhost:8099."),
    (["runner=portable", "job_endpoint=jobs:1"], "beam: the runner portable needs "
     "environment_config; set it to host:port of the worker pool, for example localhost:50000."),
    (["runner=portable", "job_endpoint=jobs"], "beam.job_endpoint: it must be host:port, for "
     "example localhost:8099 (found 'jobs')."),
    (["runner=portable", "job_endpoint=jobs:1", "environment_type=DOCKER"],
     "set it to the image that has Seamline."),
    (["runner=portable", "job_endpoint=jobs:1", "environment_type=PROCESS",
      "environment_config=boot"], "environment_config for PROCESS is 'boot'; it must be JSON"),
    (["runner=portable", "job_endpoint=jobs:1", "environment_config=pool"],
     "environment_config for EXTERNAL is 'pool'; it must be host:port"),
    (["runner=flink", "environment_config=localhost:50000"], "the runner flink needs flink_master"),
    (["runner=flink", "flink_master='[auto]'", "environment_config=localhost:50000"],
     "beam.flink_master: it must be host:port or http://host:port"),
    (["runner=flink", "flink_version='1.18'"], "beam.flink_version"),
    (["runner=spark", "environment_config=localhost:50000"],
     "the runner spark needs spark_master_url"),
    (["runner=spark", "spark_submit_uber_jar=true", "environment_config=localhost:50000"],
     "the runner spark needs spark_rest_url"),
    (["runner=dataflow"], "the runner dataflow needs project"),
    (["runner=dataflow", "project=p", "region=r", "temp_location=/tmp"],
     "beam.temp_location: it must be a folder of Cloud Storage"),
    (["runner=dataflow", "project=p", "region=r", "temp_location=gs://bucket/t"],
     "needs sdk_container_image; set it to the image that has Seamline"),
    (["runner=flinc"], "beam.runner"),
    (["flink_mastr=a:1"], "beam.flink_mastr is not an option (did you mean flink_master?)"),
])  # fmt: skip
def test_what_a_runner_lacks_is_told_when_the_config_is_read(load, options, said):
    with pytest.raises(UserError) as told:
        load(*options)
    assert said in str(told.value)
    assert str(told.value).count("\n") == 0


def test_the_options_of_other_runners_wait(load):
    """So that a config of a cluster is tried on this machine by one `--set beam.runner=local`."""
    config = load("flink_master=flink:8081", "environment_config=localhost:50000", "runner=local")
    assert arguments(config.beam) == arguments(Beam())


@pytest.fixture
def closed_port():
    """A port of this machine on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return port


@pytest.mark.parametrize(("options", "said"), [
    ({"runner": "portable", "job_endpoint": "127.0.0.1:{}"},
     "Beam's job server does not answer at 127.0.0.1:{} (Connection refused), which "
     "beam.job_endpoint names;"),
    ({"runner": "flink", "flink_master": "http://127.0.0.1:{}"},
     "Flink's REST service does not answer at 127.0.0.1:{}"),
    ({"runner": "spark", "spark_master_url": "spark://127.0.0.1:{}"},
     "Spark's master does not answer at 127.0.0.1:{}"),
], ids=["portable", "flink", "spark"])  # fmt: skip
def test_a_service_that_is_away_is_one_sentence(closed_port, options, said):
    beam = Beam(**{name: value.format(closed_port) for name, value in options.items()}, **POOL)
    with pytest.raises(UserError) as told:
        check_service(beam)
    assert str(told.value).startswith(said.format(closed_port))
    assert str(told.value).endswith("--set beam.runner=local.")


def test_a_service_that_answers_is_left_alone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_service(PORTABLE.model_copy(update={"job_endpoint": f"127.0.0.1:{port}"}))


def test_nobody_is_asked_where_there_is_nothing_to_ask():
    check_service(Beam())


def test_dataflows_folders_are_looked_at(gs_url):
    at = {"temp_location": f"{gs_url}/temp", "staging_location": f"{gs_url}/staging"}
    check_service(DATAFLOW.model_copy(update=at))
    assert storage.files(gs_url) == []
    for option in at:
        elsewhere = DATAFLOW.model_copy(update=at | {option: "gs://nowhere-at-all/folder"})
        with pytest.raises(UserError, match="There is no bucket nowhere-at-all"):
            check_service(elsewhere)


def test_an_unknown_host_is_one_sentence():
    with pytest.raises(UserError, match="does not answer at no-such-host.invalid:8099"):
        check_service(PORTABLE.model_copy(update={"job_endpoint": "no-such-host.invalid:8099"}))


def unavailable(closed_port: int) -> grpc.RpcError:
    """What gRPC says of a connection that is refused."""
    with (
        grpc.insecure_channel(f"127.0.0.1:{closed_port}") as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        channel.unary_unary("/service/Method")(b"", timeout=20)
    return refused.value


def test_a_job_server_that_went_away_is_told(closed_port):
    error = RuntimeError("step failed")
    error.__cause__ = unavailable(closed_port)
    assert failure(error, PORTABLE).startswith(
        "Beam's job server at jobs:8099 went away while a step was computed;"
    )
    assert failure(error, Beam()) is None


def test_what_a_step_itself_failed_at_is_left_to_others():
    assert failure(RuntimeError("ValueError: no such column"), PORTABLE) is None


def test_a_step_that_knows_folders_alone_is_computed_here_where_its_artifacts_are_in_a_bucket():
    reads_buckets, on_disk = (
        f"components.{name}.executor.Executor" for name in ("predictions", "similarity_index")
    )
    for runner in (FLINK, PORTABLE):
        given = arguments(runner)
        assert in_a_bucket(given, reads_buckets) == (True, given)
        assert in_a_bucket(given, on_disk) == (False, LOCAL)
    given = [*LOCAL, "--direct_num_workers=2"]
    assert in_a_bucket(given, on_disk) == (False, given)
