"""What is compiled is what the backend takes, and names nothing that only this machine knows."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from pydantic import ValidationError

from components.ledger.ledger import Blessed, Ledger, Passed
from pipeline.config.kubeflow import Kubeflow
from pipeline.kubeflow import spec as specs
from pipeline.kubeflow.spec import NEVER_CACHED, compiled
from pipeline.steps import LOOK_UPS, STEPS
from schema.errors import UserError

CONFIGS = Path(specs.__file__).parents[1] / "configs"


@pytest.fixture
def remembered(monkeypatch, tmp_path):
    """A ledger in a folder here, in place of the object store's."""
    monkeypatch.setattr(specs.BucketPlaces, "ledger", str(tmp_path / "ledger"))
    return Ledger(str(tmp_path / "ledger"))


def artifact(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    return str(folder / name)


@pytest.mark.parametrize("file", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_config_compiles_to_what_the_backend_takes(config, file):
    made = compiled(config(name=file), "seamline:1", look_up=False)
    pipeline, platform = yaml.safe_load_all(made.to_yaml())
    spec = json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    assert spec.schema_version == "2.1.0"
    assert re.fullmatch("[a-z0-9][a-z0-9-]{0,127}", spec.pipeline_info.name)
    assert set(pipeline["root"]["dag"]["tasks"]) <= set(STEPS) - LOOK_UPS
    for name, task in spec.root.dag.tasks.items():
        assert re.fullmatch("[A-Za-z0-9-]+", name)
        executor = spec.components[task.component_ref.name].executor_label
        container = pipeline["deploymentSpec"]["executors"][executor]["container"]
        assert container["image"] == "seamline:1"
        assert tuple(container["command"]) == specs.COMMAND
        assert max(map(len, container["args"])) < 100 * 1024
        for parameter in task.inputs.parameters.values():
            kind = parameter.WhichOneof("kind")
            assert kind == "component_input_parameter" or (
                parameter.runtime_value.WhichOneof("value") == "constant"
            )
        assert set(task.dependent_tasks) <= set(spec.root.dag.tasks)


def test_every_class_that_a_container_will_look_for_is_there(config):
    made = compiled(config(), "seamline:1", look_up=False)
    for executor in made.pipeline["deploymentSpec"]["executors"].values():
        module, _, name = executor["container"]["args"][1].rpartition(".")
        assert getattr(importlib.import_module(module), name)
    text = json.dumps(made.pipeline)
    titles = set(re.findall(r"title: (components\.\w+)", text))
    assert {"components.Rejects", "components.HtmlReport"} <= titles
    for title in titles:
        module, _, name = title.rpartition(".")
        assert title == getattr(importlib.import_module(module), name).TYPE_NAME
    with pytest.raises(AttributeError):
        importlib.import_module("components").Nothing  # noqa: B018


def test_nothing_is_named_that_only_this_machine_knows(config, catalog):
    made = compiled(config(), "seamline:1", look_up=False)
    paths = set(re.findall(r"\"(/[^\"\\]+)", json.dumps(made.pipeline).replace("\\", "")))
    assert paths and all(
        path.startswith((str(catalog), "/tmp/seamline/"))
        for path in paths  # noqa: S108
    ), paths


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["kubeflow.volumes={}"], "catalog.folder is .*kubeflow.volumes"),
        (["catalog.corrections=/elsewhere/a.csv"], "catalog.corrections is /elsewhere/a.csv"),
        (["model.weights=/elsewhere/w.keras"], "model.weights is /elsewhere/w.keras"),
        (["kubeflow.root=null"], "kubeflow.root is missing"),
    ],
)
def test_what_the_pods_cannot_see_is_named(config, more, told):
    with pytest.raises(UserError, match=told):
        compiled(config(*more), "seamline:1", look_up=False)


def test_without_an_image_nothing_is_compiled(config):
    with pytest.raises(UserError, match=r"kubeflow\.image"):
        compiled(config(), look_up=False)
    made = compiled(config("kubeflow.image=mine"), look_up=False)
    assert '"image": "mine"' in json.dumps(made.pipeline)


def test_a_changed_picture_is_another_value_of_a_parameter_and_nothing_else(config, catalog):
    before = compiled(config(), "seamline:1", look_up=False)
    again = compiled(config(), "seamline:1", look_up=False)
    assert before.to_yaml() == again.to_yaml(), "else nothing would ever be cached"
    (catalog / "images" / "new.jpg").write_bytes(b"new")
    after = compiled(config(), "seamline:1", look_up=False)
    (catalog / "images" / "new.jpg").unlink()
    assert set(after.parameters) == {"input_fingerprint", "inputs", "training"}
    for name, value in before.parameters.items():
        assert after.parameters[name] != value
    text = after.to_yaml()
    for name, value in after.parameters.items():
        text = text.replace(value, before.parameters[name])
    assert text == before.to_yaml()


def test_a_catalog_that_is_not_seen_from_here_is_never_taken_for_unchanged(config):
    options = ["catalog.folder=/nowhere/here", "kubeflow.volumes={data: /nowhere}"]
    first, second = (
        compiled(config(*options), "seamline:1", look_up=False).parameters for _ in range(2)
    )
    assert all(first[name] != second[name] for name in first)


def test_what_the_ledger_must_know_is_never_taken_from_the_cache(config):
    tasks = compiled(config(), "seamline:1", look_up=False).pipeline["root"]["dag"]["tasks"]
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(tasks) - {*NEVER_CACHED}


def test_what_the_ledger_knows_is_imported_by_its_uri(config, remembered, tmp_path):
    uris = [artifact(tmp_path, name) for name in ("statistics", "verdict", "model", "judgement")]
    remembered.add(Passed("other data", uris[0], uris[1]))
    remembered.add(Blessed("other data", "another training", uris[2], uris[3]))
    made = compiled(config("training.warm_start=true"), "seamline:1")
    assert made.looked_up == {
        "PreviousStatistics": uris[0],
        "BaseModel": uris[2],
        "BaselineModel": uris[2],
        "BaselineJudgement": uris[3],
    }
    tasks, executors = (
        made.pipeline["root"]["dag"]["tasks"],
        made.pipeline["deploymentSpec"]["executors"],
    )
    for step in made.looked_up:
        label = made.pipeline["components"][step]["executorLabel"]
        assert executors[label]["importer"].get("reimport", False) is False
    of_gate = tasks["DataGate"]["inputs"]["artifacts"]["previous_statistics"]
    assert of_gate["taskOutputArtifact"]["producerTask"] == "PreviousStatistics"
    assert tasks["BaselinePredictions"]["inputs"]["artifacts"]["model"]
    assert compiled(config(), "seamline:1", look_up=False).looked_up == {}
    assert compiled(config(), "seamline:1").looked_up.keys() == made.looked_up.keys() - {
        "BaseModel"
    }


def test_each_step_gets_what_its_pod_needs(config):
    from kfp.kubernetes import kubernetes_executor_config_pb2

    made = compiled(
        config(
            "kubeflow.env={A: '1', B: x}",
            "kubeflow.secrets={AWS_SECRET_ACCESS_KEY: minio/secretkey}",
            "kubeflow.steps={every: {cpu: 2, memory: 4Gi}, Trainer: {memory: 16Gi, gpus: 2, "
            "node_selector: {pool: gpu}, env: {B: y}, "
            "tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]}}",
        ),
        "seamline:1",
        look_up=False,
    )
    executors = made.pipeline["deploymentSpec"]["executors"]

    def of(step):
        label = made.pipeline["components"][step]["executorLabel"]
        pod = made.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
        message = kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        return executors[label]["container"], json_format.ParseDict(pod, message)

    container, pod = of("Trainer")
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "y"}]
    assert container["resources"]["resourceMemoryLimit"] == "16Gi"
    assert container["resources"]["accelerator"]["resourceCount"] == "2"
    assert "resourceCpuLimit" not in container["resources"], "a step's own stand for all of it"
    assert pod.node_selector.labels == {"pool": "gpu"}
    assert pod.tolerations[0].effect == "NoSchedule"
    assert pod.pvc_mount[0].pvc_name_parameter.runtime_value.constant.string_value == "data"
    assert pod.secret_as_env[0].key_to_env[0].env_var == "AWS_SECRET_ACCESS_KEY"
    container, pod = of("Evaluator")
    assert container["env"][1]["value"] == "x"
    assert container["resources"]["resourceCpuRequest"] == "2"
    assert not pod.tolerations


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("root", "/work", "object stores"),
        ("root", "http://a/b", "object stores"),
        ("root", "s3://", "object stores"),
        ("steps", {"Trainor": {}}, "there is no step Trainor"),
        ("steps", {"BaseModel": {}}, "there is no step BaseModel"),
        ("steps", {"Trainer": {"memory": "16 GB"}}, "Kubernetes writes"),
        ("steps", {"Trainer": {"gpus": -1}}, "greater than or equal to 0"),
        ("secrets", {"KEY": "minio"}, "SECRET/KEY"),
        ("volumes", {"data": "data"}, "must begin with /"),
        ("scratch", "tmp", "must begin with /"),
    ],
)
def test_a_mistake_in_the_options_is_told_before_anything_is_compiled(option, value, told):
    with pytest.raises(ValidationError, match=told):
        Kubeflow.model_validate({option: value})


def test_a_step_whose_options_would_not_fit_is_named(config, monkeypatch):
    monkeypatch.setattr(specs, "LONGEST_ARGUMENT", 2000)
    with pytest.raises(UserError, match=r"most of it `\w+`.*at most 2,000"):
        compiled(config(), "seamline:1", look_up=False)
