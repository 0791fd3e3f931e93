"""The deployment files can be read by what reads them, and agree with each other and the code."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import serving
from pipeline.config import Serving
from serving.app.__main__ import _parser as _app_parser
from serving.app.__main__ import main as app_main
from serving.app.server import _GRACE_S as APP_GRACE_S
from serving.client import MAX_PICTURES_PER_REQUEST
from serving.model_server import ModelServer, config_files, flags, server_config_pb2
from serving.model_server.options import ServerOptions, single_model
from tests.image import dockerfile

DEPLOY = Path(serving.__file__).parent / "deploy"
ROOT = DEPLOY.parents[1]
OVERLAYS = ("tensorflow_serving", "seamline")
APP_OVERLAYS = tuple(f"app/{name}" for name in OVERLAYS)
"""The search's app, beside either model server."""

KUBERNETES = ("1.30", kubernetes_validate.latest_version())
"""The oldest that the manifests are for, and the newest whose schemas are known here."""

FLAGS_OF_TENSORFLOW_SERVING = frozenset(
    re.findall(
        r"\w+",
        """
        allow_version_labels_for_unavailable_models batching_parameters_file enable_batching
        enable_grpc_healthcheck_service enable_model_warmup enable_per_model_batching_parameters
        enable_profiler enable_serialization_as_tensor_content
        enable_signature_method_name_check file_system_poll_wait_seconds flush_filesystem_caches
        grpc_channel_arguments grpc_max_threads grpc_socket_path load_retry_interval_micros
        max_num_load_retries mixed_precision model_base_path model_config_file
        model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
        num_request_iterations_for_warmup num_tflite_pools num_tflite_interpreters_per_pool
        num_unload_threads per_process_gpu_memory_fraction platform_config_file port
        prefer_tflite_model remove_unused_fields_from_bundle_metagraph
        rest_api_enable_cors_support rest_api_num_threads rest_api_port rest_api_timeout_in_ms
        saved_model_tags skip_initialize_tpu ssl_config_file tensorflow_inter_op_parallelism
        tensorflow_intra_op_parallelism tensorflow_session_config_file
        tensorflow_session_parallelism thread_pool_factory_config_file use_alts_credentials
        version xla_cpu_compilation_enabled xla_gpu_compilation_enabled
        """,
    )
)
"""In its model_servers/main.cc of July 2026."""


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def _parsed(name: str, message):
    return text_format.Parse((DEPLOY / "config" / name).read_text(), message)


@cache
def _compose(*overrides: str) -> dict:
    """The services of the compose file, with those of others laid over it as compose does."""
    services = _yaml("docker-compose.yaml")["services"]
    for override in overrides:
        for name, changed in _yaml(override)["services"].items():
            services[name] = services[name] | changed
    return services


def _resources(name: str) -> list[dict]:
    """What an overlay gives kubectl, as kustomize puts it together."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    return list(yaml.safe_load_all(_kustomized(name)))


@cache
def _kustomized(name: str) -> str:
    done = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _one(name: str, kind: str) -> dict:
    (found,) = (resource for resource in _resources(name) if resource["kind"] == kind)
    return found


def _pod(name: str) -> dict:
    return _one(name, "Deployment")["spec"]["template"]["spec"]


def _container(name: str) -> dict:
    (container,) = _pod(name)["containers"]
    return container


@pytest.fixture(scope="module")
def model():
    config = _parsed("models.config", model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


def _our_arguments() -> dict[str, list[str]]:
    """Where our own server is started, and with what."""
    compose = _compose("docker-compose.seamline.yaml")["model-server"]["command"]
    patch = _yaml("kubernetes/seamline/deployment.yaml")["spec"]["template"]["spec"]
    return {"compose": compose, "kubernetes": patch["containers"][0]["args"]}


def _their_arguments() -> dict[str, list[str]]:
    """Where TensorFlow Serving is started, and with what."""
    deployment = _yaml("kubernetes/tensorflow_serving/deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {
        "compose": _compose()["model-server"]["command"],
        "kubernetes": container["args"],
    }


def _flag(arguments: list[str], name: str) -> str | None:
    given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    return given.get(name)


def test_the_model_has_the_name_that_seamline_serves_by_default(model):
    assert model.name == Serving().model_name
    assert Path(model.base_path).name == model.name
    assert model.model_version_policy.latest.num_versions == 1


def test_our_server_takes_every_configuration_file():
    folder = DEPLOY / "config"

    assert config_files.model_config(folder / "models.config").model_config_list.config
    assert config_files.monitoring(folder / "monitoring.config").prometheus_config.enable
    assert config_files.batching_parameters(folder / "batching.config").max_batch_size.value
    assert {path.name for path in folder.iterdir()} - {"kustomization.yaml"} == {
        *("models.config", "monitoring.config", "batching.config")
    }


def test_a_batch_holds_the_largest_request_of_the_client():
    batching = _parsed("batching.config", server_config_pb2.BatchingParameters())

    assert batching.max_batch_size.value >= MAX_PICTURES_PER_REQUEST
    assert batching.batch_timeout_micros.value == 0


def test_as_many_batches_are_computed_at_a_time_as_processors_are_asked_for():
    batching = _parsed("batching.config", server_config_pb2.BatchingParameters())
    deployment = _yaml("kubernetes/tensorflow_serving/deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert int(container["resources"]["requests"]["cpu"]) == batching.num_batch_threads.value


def test_our_server_computes_enough_requests_at_a_time_to_fill_a_batch():
    batching = _parsed("batching.config", server_config_pb2.BatchingParameters())
    in_flight = _flag(_our_arguments()["kubernetes"], "max_requests_in_flight")

    assert int(in_flight) >= batching.max_batch_size.value * batching.num_batch_threads.value


def test_tensorflow_serving_has_every_flag_that_is_given_it():
    for where, arguments in _their_arguments().items():
        names = {argument.removeprefix("--").partition("=")[0] for argument in arguments}

        assert names <= FLAGS_OF_TENSORFLOW_SERVING, where


def test_our_server_takes_every_flag_that_is_given_it(tmp_path: Path):
    (tmp_path / "keys").write_text("tests 0123456789abcdef\n")
    for where, arguments in _our_arguments().items():
        there = [
            argument.replace("=/config/", f"={DEPLOY / 'config'}/")
            .replace("=/keys/", f"={tmp_path}/")
            .replace("$(CPUS)", "2")
            for argument in arguments
        ]
        command = flags.parse(there)

        assert command.options.enable_batching, where
        assert not command.without_effect, where
        assert command.options.host == "0.0.0.0", where


def test_our_server_knows_all_flags_of_tensorflow_serving():
    ours = {flag.name for flag in flags.TENSORFLOW_SERVING_FLAGS}

    assert ours == FLAGS_OF_TENSORFLOW_SERVING


def test_both_servers_are_told_the_same_everywhere():
    common = [
        *("port", "rest_api_port", "model_config_file", "monitoring_config_file"),
        *("enable_batching", "batching_parameters_file"),
    ]
    told = [
        [_flag(arguments, name) for name in common]
        for arguments in [*_their_arguments().values(), *_our_arguments().values()]
    ]

    assert told == 4 * [
        ["8500", "8501", "/config/models.config", "/config/monitoring.config"]
        + ["true", "/config/batching.config"]
    ]


def test_prometheus_looks_where_the_server_shows_its_metrics():
    monitoring = _parsed("monitoring.config", server_config_pb2.MonitoringConfig())
    path = monitoring.prometheus_config.path
    deployment = _yaml("kubernetes/tensorflow_serving/deployment.yaml")
    pod = deployment["spec"]["template"]["metadata"]

    for name in ("prometheus.yaml", "kubernetes.yaml"):
        (job,) = _yaml(f"prometheus/{name}")["scrape_configs"]
        assert (job["metrics_path"], job["job_name"]) == (path, "model-server")
    assert pod["annotations"]["prometheus.io/path"] == path
    assert pod["annotations"]["prometheus.io/port"] == "8501"
    kept = {
        rule["source_labels"][0]: rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    assert kept["__meta_kubernetes_pod_label_app"] == pod["labels"]["app"]
    assert kept["__meta_kubernetes_pod_container_port_name"] == "rest"


def test_the_image_is_of_the_tensorflow_that_exports_the_models():
    image = _compose()["model-server"]["image"]
    deployment = _yaml("kubernetes/tensorflow_serving/deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert image == container["image"]
    name, _, version = image.partition(":")
    assert name == "tensorflow/serving"
    assert version.split(".")[:2] == tf.__version__.split(".")[:2]


def test_every_image_is_pinned():
    ours = _yaml("kubernetes/seamline/kustomization.yaml")["images"][0]
    for service in _compose().values():
        # What is built here is of this checkout.
        if "build" not in service:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"]), service["image"]

    assert ours["name"] == "tensorflow/serving"
    assert ours["newTag"] == importlib.metadata.version("seamline")
    assert ours["newName"] == _compose("docker-compose.seamline.yaml")["model-server"]["image"]
    (app,) = _yaml("kubernetes/app/tensorflow_serving/kustomization.yaml")["images"]
    assert (app["newTag"], app["newName"]) == (ours["newTag"], _compose()["app"]["image"])
    for name in APP_OVERLAYS:
        assert _container(name)["image"] == f"{app['newName']}:{app['newTag']}"


@pytest.mark.parametrize("name", ["docker-compose.yaml", "docker-compose.seamline.yaml"])
def test_compose_can_read_its_file(name: str):
    """The schema is the Compose specification's, which check-jsonschema carries."""
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads(schemas.joinpath("compose-spec.json").read_text())
    jsonschema.validators.validator_for(schema).check_schema(schema)

    jsonschema.validate(_yaml(name), schema)


def test_compose_mounts_what_the_configuration_names(model):
    services = _compose()
    volumes = services["model-server"]["volumes"]

    assert any(v.endswith(f"/serving:{Path(model.base_path).parent}:ro") for v in volumes)
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source
            elif not source.startswith("$"):
                assert source in _yaml("docker-compose.yaml")["volumes"], source
    for arguments in (_their_arguments()["compose"], _our_arguments()["compose"]):
        for argument in arguments:
            if argument.endswith(".config"):
                assert (DEPLOY / "config" / Path(argument.partition("=")[2]).name).exists()


def test_compose_names_its_services_to_each_other():
    services = _compose()
    (target,) = _yaml("prometheus/prometheus.yaml")["scrape_configs"][0]["static_configs"][0][
        "targets"
    ]
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = _yaml("grafana/provisioning/dashboards/seamline.yaml")["providers"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert target == "model-server:8501"
    assert source["url"] == "http://prometheus:9090"
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert (DEPLOY / "grafana" / "dashboards" / Path(home).name).exists()
    assert {s for s, service in services.items() if "profiles" not in service} == {"model-server"}


def test_compose_opens_every_port_to_this_machine_alone():
    for service in _compose("docker-compose.seamline.yaml").values():
        for port in service["ports"]:
            assert re.match(r"(127\.0\.0\.1|\$\{(APP_)?ADDRESS:-127\.0\.0\.1\}):", port)


def test_compose_waits_longer_than_our_server_takes_to_stop():
    service = _compose("docker-compose.seamline.yaml")["model-server"]
    grace_s = float(_flag(service["command"], "stop_grace_s"))

    assert float(service["stop_grace_period"].removesuffix("s")) >= grace_s + 10


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_health_check_of_compose_sees_whether_a_model_answers(
    saved_model: Path, tmp_path: Path
):
    kind, *command = _compose()["model-server"]["healthcheck"]["test"]
    assert kind == "CMD"
    (tmp_path / "catalog").mkdir()
    options = ServerOptions(
        models=single_model(tmp_path / "catalog", "catalog"),
        rest_api_port=0,
        file_system_poll_wait_seconds=0.1,
    )
    server = ModelServer.from_options(options).start()
    try:
        port = server.rest_endpoint.rpartition(":")[2]
        check = [word.replace("8501", port) for word in command]
        before = subprocess.run(check, check=False, timeout=20).returncode
        (tmp_path / "catalog" / "7").symlink_to(saved_model)
        server.wait_until_ready()
        after = subprocess.run(check, check=False, timeout=20).returncode
    finally:
        server.stop()
    gone = subprocess.run(check, check=False, timeout=20, stderr=subprocess.DEVNULL).returncode

    assert (before, after, gone) == (1, 0, 1)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", [*OVERLAYS, *APP_OVERLAYS])
def test_kubernetes_knows_every_field(name: str, version: str):
    resources = _resources(name)

    of_the_model_server = {"ConfigMap", "HorizontalPodAutoscaler"} if name in OVERLAYS else set()
    assert {resource["kind"] for resource in resources} == {
        *("Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"),
        *of_the_model_server,
    }
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field_of_a_single_file(version: str):
    files = sorted((DEPLOY / "kubernetes").glob("**/tensorflow_serving/*.yaml"))

    for file in files:
        if file.name != "kustomization.yaml":
            kubernetes_validate.validate(yaml.safe_load(file.read_text()), version, strict=True)


def test_a_mistake_in_a_manifest_would_be_found():
    service = _yaml("kubernetes/tensorflow_serving/service.yaml")
    service["spec"]["ports"][0]["targetport"] = service["spec"]["ports"][0].pop("targetPort")

    with pytest.raises(kubernetes_validate.ValidationError, match="targetport"):
        kubernetes_validate.validate(service, KUBERNETES[-1], strict=True)


def test_kustomize_finds_every_file():
    for kustomization in DEPLOY.rglob("kustomization.yaml"):
        content = yaml.safe_load(kustomization.read_text())
        named = [*content.get("resources", []), *(p["path"] for p in content.get("patches", []))]
        for generator in content.get("configMapGenerator", []):
            named += generator["files"]

        assert all((kustomization.parent / name).exists() for name in named), kustomization
        beside = {path.name for path in kustomization.parent.iterdir()}
        assert beside - {"kustomization.yaml"} <= set(named), kustomization


def test_tensorflow_serving_is_ready_when_the_model_answers(model):
    container = _container("tensorflow_serving")
    path = f"/v1/models/{model.name}/metadata"

    assert container["readinessProbe"]["httpGet"] == {"path": path, "port": "rest"}
    assert container["startupProbe"]["httpGet"] == {"path": path, "port": "rest"}


def test_our_server_is_ready_when_its_health_service_says_so():
    container = _container("seamline")

    # Metadata would take a key, which no probe has.
    assert _flag(container["args"], "api_key_file")
    for probe in ("readinessProbe", "startupProbe"):
        assert container[probe]["grpc"]["port"] == 8500
        assert "httpGet" not in container[probe]


@pytest.mark.parametrize("name", OVERLAYS)
def test_ports_have_the_names_that_others_call_them_by(name: str):
    container = _container(name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    service = _one(name, "Service")["spec"]
    policy = _one(name, "NetworkPolicy")["spec"]

    assert ports == {"grpc": 8500, "rest": 8501}
    assert str(ports["grpc"]) == _flag(container["args"], "port")
    assert str(ports["rest"]) == _flag(container["args"], "rest_api_port")
    assert {port["name"]: port["port"] for port in service["ports"]} == ports
    assert {port["targetPort"] for port in service["ports"]} == ports.keys()
    assert {p["port"] for rule in policy["ingress"] for p in rule["ports"]} == ports.keys()
    assert container["livenessProbe"]["tcpSocket"]["port"] in ports


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_chooses_the_deployment(name: str):
    deployment = _one(name, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    target = _one(name, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    account = _one(name, "ServiceAccount")["metadata"]["name"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert _one(name, "Service")["spec"]["selector"] == labels
    assert _one(name, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert _one(name, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    for constraint in _pod(name)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    assert target["name"] == deployment["metadata"]["name"]
    assert _pod(name)["serviceAccountName"] == account
    # Otherwise each new version of the manifest would undo what the autoscaler did.
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_mount_what_the_configuration_names(name: str, model):
    mounts = {mount["mountPath"]: mount["name"] for mount in _container(name)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in _pod(name)["volumes"]}
    config = _one(name, "ConfigMap")

    assert mounts.keys() >= {str(Path(model.base_path).parent), "/config", "/tmp"}
    assert set(mounts.values()) == volumes.keys()
    # Kustomize has put the hash of the files into both.
    assert volumes[mounts["/config"]]["configMap"]["name"] == config["metadata"]["name"]
    assert config["metadata"]["name"] != "model-server-config"
    for argument in _container(name)["args"]:
        value = argument.partition("=")[2]
        if value.startswith("/config/"):
            assert value.removeprefix("/config/") in config["data"]
        elif value.startswith("/"):
            assert str(Path(value).parent) in mounts


@pytest.mark.parametrize("name", [*OVERLAYS, *APP_OVERLAYS])
def test_pods_may_do_nothing_but_serve(name: str):
    pod, container = _pod(name), _container(name)

    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert _one(name, "ServiceAccount")["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    policy = _one(name, "NetworkPolicy")["spec"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert name in APP_OVERLAYS or policy.get("egress", []) == []
    assert all(rule["to"] and all(rule["to"]) for rule in policy.get("egress", []))
    # An empty list of peers would be everybody.
    assert all(rule["from"] and all(rule["from"]) for rule in policy["ingress"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_ask_for_what_they_need_and_cpus_are_named_from_it(name: str):
    container = _container(name)
    (cpus,) = container["env"]

    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["resources"]["limits"].keys() == {"memory"}
    assert cpus == {
        "name": "CPUS",
        "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}},
    }
    for flag in ("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism"):
        assert _flag(container["args"], flag) == "$(CPUS)"


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_replica_that_goes_first_answers_what_it_was_asked(name: str):
    container = _container(name)
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace_s = float(_flag(container["args"], "stop_grace_s") or 20)

    assert _pod(name)["terminationGracePeriodSeconds"] >= pause_s + grace_s + 5
    # Callers must have been told before: their readiness is looked at as often as this.
    assert pause_s >= container["readinessProbe"]["periodSeconds"]


@pytest.mark.parametrize("name", ["seamline", "app/seamline"])
def test_keys_are_read_by_the_process_alone(name: str):
    pod = _pod(name)
    (secret,) = (volume["secret"] for volume in pod["volumes"] if "secret" in volume)

    assert secret["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_our_server_is_started_alike_in_the_image_of_all():
    service = _compose("docker-compose.seamline.yaml")["model-server"]
    patch = _yaml("kubernetes/seamline/deployment.yaml")["spec"]["template"]["spec"]
    kustomization = _yaml("kubernetes/seamline/kustomization.yaml")

    # The image has no entry point: whoever starts it says what.
    assert _said("", "ENTRYPOINT") == []
    assert service["entrypoint"] == ["python", "-m", serving.model_server.__name__]
    assert patch["containers"][0]["command"] == service["entrypoint"]
    assert [kustomization["images"][0]["newName"]] == [service["image"]] == ["seamline"]
    assert _said("", "USER") == [service["user"]]
    assert service["build"].keys() == {"context"}
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT


def _said(target: str, instruction: str) -> list:
    """What the Dockerfile says by an instruction of a target; of all by default."""
    stages = dockerfile.read((ROOT / "Dockerfile").read_text())
    return [of for stage in dockerfile.chain(stages, target) for of in stage.all(instruction)]


# The search's app.


def _app_arguments() -> dict[str, list[str]]:
    """Where the app is started, and with what."""
    base, patch = (
        _yaml(f"kubernetes/{name}/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
        for name in APP_OVERLAYS
    )
    return {
        "compose": _compose()["app"]["command"],
        "kubernetes": base["args"],
        "kubernetes, with a key": patch["args"],
    }


def test_the_app_takes_every_flag_that_is_given_it(tmp_path: Path, capsys):
    (tmp_path / "key").write_text("0123456789abcdef\n")
    for where, arguments in _app_arguments().items():
        assert arguments[0] == "/models"
        there = [argument.replace("=/key/", f"={tmp_path}/") for argument in arguments[1:]]

        assert app_main([str(tmp_path / "none"), *there]) == 1, where
        # All else was understood: a flag that it does not know would have ended it before.
        assert "There is no folder" in capsys.readouterr().err
        assert ("api-key-file" in " ".join(arguments)) == ("key" in where)


@pytest.mark.parametrize("name", APP_OVERLAYS)
def test_the_app_is_told_the_same_everywhere_and_asks_the_model_server(name: str, model):
    told = {where: arguments[:4] for where, arguments in _app_arguments().items()}
    container, policy = _container(name), _one(name, "NetworkPolicy")["spec"]
    server = _one("tensorflow_serving", "Service")
    ports = {port["name"]: port["port"] for port in server["spec"]["ports"]}
    (root, *flags_given) = container["args"]

    assert set(map(tuple, told.values())) == {tuple(container["args"][:4])}
    assert root == str(Path(model.base_path).parent)
    assert _flag(flags_given, "server") == f"{server['metadata']['name']}:{ports['grpc']}"
    assert _compose()["app"]["depends_on"] == [server["metadata"]["name"]]
    # It may ask the model server, and that lets it in.
    (to_server, to_dns) = policy["egress"]
    assert to_server["to"] == [{"podSelector": {"matchLabels": server["spec"]["selector"]}}]
    assert [port["port"] for port in to_server["ports"]] == ["grpc"]
    assert {(port["protocol"], port["port"]) for port in to_dns["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }
    (let_in, _) = _one("tensorflow_serving", "NetworkPolicy")["spec"]["ingress"]
    labels = _one(name, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert let_in["from"][0]["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("name", APP_OVERLAYS)
def test_everything_chooses_the_app(name: str):
    deployment = _one(name, "Deployment")
    container, labels = _container(name), deployment["spec"]["selector"]["matchLabels"]
    (port,) = container["ports"]
    (rule,) = _one(name, "NetworkPolicy")["spec"]["ingress"]

    assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert _one(name, "Service")["spec"]["selector"] == labels
    assert _one(name, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert _one(name, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    for constraint in _pod(name)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == labels
    assert _pod(name)["serviceAccountName"] == _one(name, "ServiceAccount")["metadata"]["name"]
    assert str(port["containerPort"]) == _flag(container["args"][1:], "port")
    assert _one(name, "Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    assert [one["port"] for one in rule["ports"]] == [port["name"]]


@pytest.mark.parametrize("name", APP_OVERLAYS)
def test_the_apps_pods_mount_what_they_name_for_reading_alone(name: str):
    mounts = {mount["mountPath"]: mount for mount in _container(name)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in _pod(name)["volumes"]}
    claim = _pod("tensorflow_serving")["volumes"]
    (served,) = (one["persistentVolumeClaim"] for one in claim if "persistentVolumeClaim" in one)

    assert {mount["name"] for mount in mounts.values()} == volumes.keys()
    assert volumes[mounts["/models"]["name"]]["persistentVolumeClaim"] == served
    assert served["readOnly"]
    assert all(mount.get("readOnly") for path, mount in mounts.items() if path != "/tmp")
    for argument in _container(name)["args"][1:]:
        value = argument.partition("=")[2]
        if value.startswith("/"):
            assert str(Path(value).parent) in mounts
    assert all(volume.endswith(":ro") for volume in _compose()["app"]["volumes"])


@pytest.mark.parametrize("name", APP_OVERLAYS)
def test_an_app_that_goes_first_answers_what_it_was_asked(name: str):
    container = _container(name)
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert _pod(name)["terminationGracePeriodSeconds"] >= pause_s + APP_GRACE_S + 5
    assert pause_s >= container["readinessProbe"]["periodSeconds"]
    assert float(_compose()["app"]["stop_grace_period"].removesuffix("s")) >= APP_GRACE_S + 5


@pytest.mark.parametrize("name", APP_OVERLAYS)
def test_an_app_without_a_model_is_not_ready_and_not_restarted(name: str, tmp_path: Path):
    """By Kubernetes' probes, and by the image's own health check, which compose goes by."""
    container = _container(name)
    probes = {what: container[f"{what}Probe"]["httpGet"] for what in ("startup", "liveness")}
    [health] = _said("app", "HEALTHCHECK")
    (python, *check) = health.command
    assert python == "python"
    assert "healthcheck" not in _compose()["app"]
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.app", str(tmp_path), "--server=localhost:1", "--port=0"],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    try:
        address = next(
            found[0] for line in process.stderr if (found := re.search(r"http://\S+\d", line))
        )
        with urllib.request.urlopen(address + probes["liveness"]["path"]) as alive:
            assert alive.status == 200
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(address + container["readinessProbe"]["httpGet"]["path"])
        words = [word.replace("http://127.0.0.1:8080", address) for word in check]
        assert words != check
        unready = subprocess.run([sys.executable, *words], check=False, capture_output=True)
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert unready.returncode == 1
    assert b"503" in unready.stderr
    assert process.returncode == 0
    assert probes["startup"] == probes["liveness"]


def test_the_image_of_the_app_runs_what_the_manifests_start():
    service = _compose()["app"]
    target = service["build"]["target"]
    [entrypoint] = _said(target, "ENTRYPOINT")

    assert entrypoint == ["python", "-m", "serving.app"]
    assert "entrypoint" not in service
    for name in APP_OVERLAYS:
        assert _container(name)["command"] == entrypoint
    assert _said(target, "USER") == [service["user"]]
    assert service["build"].keys() == {"context", "target"}
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT


def test_the_image_of_the_app_has_the_packages_that_it_imports_and_no_others():
    lines = (DEPLOY / "app_requirements.txt").read_text().splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    # Of what is asked for by name alone: tables of a client's.
    elsewhere = {"pandas"}
    packages = importlib.metadata.packages_distributions()
    imported = {name: set(packages[name]) for name in _imported_by_the_app() - elsewhere}
    locked = set(re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements.lock").read_text()))

    assert {name for name, of in imported.items() if not of & listed} == set()
    assert listed <= set.union(*imported.values())
    assert listed <= locked


def _imported_by_the_app() -> set[str]:
    """What the app's modules, and those that they load, import of others' packages."""
    loads = "import serving.app.__main__, serving.search.faiss_index, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", loads], capture_output=True, text=True, check=True, cwd=ROOT
    )
    own = {name for name in done.stdout.split() if name.split(".")[0] in ("serving", "schema")}
    assert "tensorflow" not in done.stdout.split()
    # By its name, so that its engine's options can be set first.
    found = {"faiss"}
    for name in own:
        path = ROOT / name.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(one.name.split(".")[0] for one in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - {"serving", "schema", *sys.stdlib_module_names}


def test_every_file_is_documented_or_named_by_another():
    texts = [path.read_text() for path in DEPLOY.rglob("*") if path.is_file()]
    texts.append((ROOT / "docs" / "serving.md").read_text())
    # Found by those who look into a folder.
    found = {"kustomization.yaml", "seamline.yaml"}

    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name not in found:
            assert any(path.name in text for text in texts), path


def test_what_the_documentation_names_is_there():
    documented = (ROOT / "docs" / "serving.md").read_text()

    for path in re.findall(r"serving/deploy[\w/.-]*\w", documented):
        assert (ROOT / path).exists(), path
    of_the_app = set(re.findall(r"--([\w-]+)", _app_parser().format_help()))
    known = flags.FLAGS.keys() | {"help"} | of_the_app
    for flag in re.findall(r"`--([\w-]+)", documented):
        assert flag in known, flag
