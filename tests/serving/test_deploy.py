"""The deployment files can be read by what reads them, and agree with each other and the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

import serving
from pipeline.config import Serving
from serving.client import MAX_PICTURES_PER_REQUEST

DEPLOY = Path(serving.__file__).parent / "deploy"


def _yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def published():
    """TensorFlow Serving's messages that its Python package leaves out, field by field.

    From session_bundle_config.proto (where these numbers are wrapped in Int64Value) and
    monitoring_config.proto.
    """
    file = descriptor_pb2.FileDescriptorProto(name="published.proto", package="published")
    file.dependency.append("google/protobuf/wrappers.proto")
    field = descriptor_pb2.FieldDescriptorProto

    def message(name: str, **fields: tuple[int, int, str]) -> None:
        described = file.message_type.add(name=name)
        for field_name, (number, kind, type_name) in fields.items():
            described.field.add(
                name=field_name,
                number=number,
                type=kind,
                label=field.LABEL_OPTIONAL,
                type_name=type_name or None,
            )

    wrapped = (field.TYPE_MESSAGE, ".google.protobuf.Int64Value")
    message(
        "BatchingParameters",
        max_batch_size=(1, *wrapped),
        batch_timeout_micros=(2, *wrapped),
        max_enqueued_batches=(3, *wrapped),
        num_batch_threads=(4, *wrapped),
    )
    message(
        "PrometheusConfig",
        enable=(1, field.TYPE_BOOL, ""),
        path=(2, field.TYPE_STRING, ""),
    )
    message(
        "MonitoringConfig",
        prometheus_config=(1, field.TYPE_MESSAGE, ".published.PrometheusConfig"),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())

    def parse(message_name: str, file_name: str):
        kind = pool.FindMessageTypeByName(f"published.{message_name}")
        return text_format.Parse(
            (DEPLOY / file_name).read_text(), message_factory.GetMessageClass(kind)()
        )

    return parse


@pytest.fixture(scope="module")
def model():
    config = text_format.Parse(
        (DEPLOY / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    (model,) = config.model_config_list.config
    return model


@pytest.fixture(scope="module")
def container() -> dict:
    return _yaml("kubernetes/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]


def test_the_model_has_the_name_that_seamline_serves_by_default(model):
    assert model.name == Serving().model_name
    assert Path(model.base_path).name == model.name
    assert model.model_version_policy.latest.num_versions == 1


def test_a_batch_holds_the_largest_request_of_the_client(published):
    batching = published("BatchingParameters", "batching.config")

    assert batching.max_batch_size.value >= MAX_PICTURES_PER_REQUEST


def test_prometheus_looks_where_the_server_shows_its_metrics(published, container):
    monitoring = published("MonitoringConfig", "monitoring.config").prometheus_config

    assert monitoring.enable
    (job,) = _yaml("prometheus.yaml")["scrape_configs"]
    assert job["metrics_path"] == monitoring.path
    pod = _yaml("kubernetes/deployment.yaml")["spec"]["template"]["metadata"]
    assert pod["annotations"]["prometheus.io/path"] == monitoring.path


def test_compose_and_kubernetes_run_the_same_pinned_image(container):
    image = _yaml("docker-compose.yaml")["services"]["model-server"]["image"]

    assert image == container["image"]
    assert image.rpartition(":")[2] not in ("", "latest")


def test_compose_mounts_what_the_configuration_names(model):
    services = _yaml("docker-compose.yaml")["services"]
    volumes = services["model-server"]["volumes"]

    assert any(v.endswith(f"/serving:{Path(model.base_path).parent}:ro") for v in volumes)
    for argument in services["model-server"]["command"]:
        if argument.endswith(".config"):
            assert (DEPLOY / Path(argument.partition("=")[2]).name).exists()
    (target,) = _yaml("prometheus.yaml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services


def test_kustomize_finds_every_file():
    kustomization = _yaml("kustomization.yaml")

    for file in kustomization["resources"]:
        assert (DEPLOY / file).exists()
    (config,) = kustomization["configMapGenerator"]
    for file in config["files"]:
        assert (DEPLOY / file).exists()


def test_a_replica_is_ready_when_the_model_answers(model, container):
    ready = container["readinessProbe"]["httpGet"]

    assert ready == {"path": f"/v1/models/{model.name}/metadata", "port": "rest"}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}


def test_kubernetes_mounts_what_the_configuration_names(model, container):
    pod = _yaml("kubernetes/deployment.yaml")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}

    assert set(mounts) == {str(Path(model.base_path).parent), "/config"}
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    config_map = next(v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v)
    assert config_map == _yaml("kustomization.yaml")["configMapGenerator"][0]["name"]


def test_service_and_autoscaler_choose_the_deployment():
    deployment = _yaml("kubernetes/deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert _yaml("kubernetes/service.yaml")["spec"]["selector"] == labels
    target = _yaml("kubernetes/autoscaler.yaml")["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
