"""The manifests of a Flink cluster: Kubernetes reads its part, and they fit the steps and the docs.

The schema of a FlinkDeployment is the operator's and not to be had here, so that its own fields are
held against the list below; its pods are Kubernetes'.
"""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from apache_beam.runners.worker import worker_pool_main

import pipeline
from pipeline.config import load_config
from pipeline.config.beam import Beam
from tests.image import dockerfile

FLINK = Path(pipeline.__file__).parent / "deploy" / "flink"
ROOT = FLINK.parents[2]
KUBERNETES = ("1.30", kubernetes_validate.latest_version())

FIELDS = {
    "spec": {
        *("flinkConfiguration", "flinkVersion", "image", "imagePullPolicy", "ingress", "job"),
        *("jobManager", "logConfiguration", "mode", "podTemplate", "restartNonce"),
        *("serviceAccount", "taskManager"),
    },
    "manager": {"podTemplate", "replicas", "resource"},
    "resource": {"cpu", "ephemeralStorage", "memory"},
}
"""Of v1beta1 of flink.apache.org."""


@pytest.fixture(scope="module")
def resources() -> dict[str, dict]:
    """What kubectl is given, as kustomize puts it together, by kind."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", str(FLINK)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


@pytest.fixture(scope="module")
def flink(resources) -> dict:
    return resources["FlinkDeployment"]


@pytest.fixture(scope="module")
def pod(flink) -> dict:
    return flink["spec"]["taskManager"]["podTemplate"]


@pytest.fixture(scope="module")
def pool(pod) -> dict:
    [pool] = [one for one in pod["spec"]["containers"] if one["name"] == "worker-pool"]
    return pool


@pytest.fixture(scope="module")
def documented(tmp_path_factory) -> Beam:
    """The options that docs/scale.md has for Flink."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    [block] = [
        block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "flink" in block
    ]
    config = tmp_path_factory.mktemp("config") / "shop.yaml"
    config.write_text("catalog: {folder: shop, category: kind, subcategory: type}\n" + block)
    return load_config(config).beam


def test_kustomize_finds_every_file():
    content = yaml.safe_load((FLINK / "kustomization.yaml").read_text())
    named = {*content["resources"], *content["configurations"], "kustomization.yaml"}
    assert {path.name for path in FLINK.iterdir()} == named


def test_the_operator_knows_every_field(flink):
    assert flink["apiVersion"] == "flink.apache.org/v1beta1"
    spec = flink["spec"]
    assert spec.keys() <= FIELDS["spec"]
    for manager in (spec["jobManager"], spec["taskManager"]):
        assert manager.keys() <= FIELDS["manager"]
        assert manager["resource"].keys() <= FIELDS["resource"]
        assert re.fullmatch(r"\d+m", manager["resource"]["memory"])  # Flink's unit: megabytes.
    assert all(isinstance(value, str) for value in spec["flinkConfiguration"].values())


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_other_field(resources, pod, version):
    template = {"metadata": pod["metadata"], "spec": pod["spec"]}
    wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
    kubernetes_validate.validate(wrapped, version, strict=True)
    kubernetes_validate.validate(resources["NetworkPolicy"], version, strict=True)


def test_a_mistake_in_a_pod_would_be_found(pod):
    [container, *_] = pod["spec"]["containers"]
    wrong = {"containers": [container | {"readynessProbe": {}}]}
    wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": wrong}}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrapped, KUBERNETES[-1], strict=True)


def test_the_cluster_is_of_the_version_that_jobs_are_made_for(flink, documented):
    named = re.fullmatch(r"flink:(\d+\.\d+)\.\d+-java(\d+)", flink["spec"]["image"])
    assert named[1] == Beam().flink_version == documented.flink_version
    assert int(named[2]) >= 11
    assert flink["spec"]["flinkVersion"] == f"v{named[1].replace('.', '_')}"


def test_jobs_are_sent_to_the_service_that_the_operator_makes(flink, documented):
    assert documented.runner == "flink"
    assert documented.flink_master == f"{flink['metadata']['name']}-rest:8081"


def test_each_task_manager_finds_its_pool_beside_it(pool, documented):
    [port] = pool["ports"]
    assert documented.environment_type == "EXTERNAL"
    assert documented.environment_config == f"localhost:{port['containerPort']}"
    assert pool["command"] == ["python", "-m", worker_pool_main.__name__]
    assert pool["args"] == [f"--service_port={port['containerPort']}"]
    for probe in ("startupProbe", "readinessProbe"):
        assert pool[probe]["tcpSocket"] == {"port": port["name"]}


def test_a_task_manager_has_as_many_slots_as_processes(flink, documented):
    slots = flink["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]
    assert int(slots) == documented.sdk_worker_parallelism


def test_a_pool_is_of_this_version_and_writes_as_the_steps_do(pool, pod):
    assert pool["image"] == f"seamline:{importlib.metadata.version('seamline')}"
    stages = dockerfile.chain(dockerfile.read((ROOT / "Dockerfile").read_text()))
    user = ":".join(str(pool["securityContext"][name]) for name in ("runAsUser", "runAsGroup"))
    assert [user] == [of for stage in stages for of in stage.all("USER")]
    mounted = {mount["name"] for mount in pool["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_only_their_own_pods_reach_the_pools(resources, flink, pool):
    policy = resources["NetworkPolicy"]["spec"]
    own = {"app": flink["metadata"]["name"]}
    assert policy["podSelector"]["matchLabels"] == own
    for rule in policy["ingress"]:
        ports = [one["port"] for one in rule.get("ports", [])]
        if ports != [8081]:
            assert rule["from"] == [{"podSelector": {"matchLabels": own}}]
    assert pool["ports"][0]["containerPort"] != 8081
