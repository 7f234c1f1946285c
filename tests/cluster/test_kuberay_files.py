"""What `kubectl apply` sends is what KubeRay and Kubernetes take.

Pinned: no unknown key and no value of another type, down into the pods; tokens on; GPU limits equal requests; the head
gives no CPU to rollouts; every pod of Ray mounts the same runs/; a retried job goes on from its checkpoint.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest
import yaml
from lightkube.models.core_v1 import PersistentVolumeClaimSpec, PodTemplateSpec, ResourceRequirements
from lightkube.models.meta_v1 import ObjectMeta

from olal.models.model_path import TINY_PATH

KUBERAY = TINY_PATH.parents[2] / "cluster" / "kuberay"


class Part(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The fields of ray.io/v1 that these files may use; pods are Kubernetes' own types."""


class AuthOptions(Part):
    mode: Literal["token"]


class AutoscalerOptions(Part):
    version: Literal["v1", "v2"]
    idleTimeoutSeconds: int
    upscalingMode: Literal["Default", "Conservative", "Aggressive"]
    resources: ResourceRequirements


class HeadGroupSpec(Part):
    rayStartParams: dict[str, str]
    template: PodTemplateSpec
    labels: dict[str, str] | None = None


class WorkerGroupSpec(Part):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    rayStartParams: dict[str, str]
    template: PodTemplateSpec
    labels: dict[str, str] | None = None


class RayClusterSpec(Part):
    rayVersion: str
    authOptions: AuthOptions
    headGroupSpec: HeadGroupSpec
    workerGroupSpecs: list[WorkerGroupSpec]
    enableInTreeAutoscaling: bool | None = None
    autoscalerOptions: AutoscalerOptions | None = None


class RayJobSpec(Part):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "SidecarMode", "HTTPMode"]
    backoffLimit: int
    activeDeadlineSeconds: int
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int
    submitterPodTemplate: PodTemplateSpec
    rayClusterSpec: RayClusterSpec


class RayCluster(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: ObjectMeta
    spec: RayClusterSpec


class RayJob(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: ObjectMeta
    spec: RayJobSpec


class PersistentVolumeClaim(Part):
    apiVersion: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: ObjectMeta
    spec: PersistentVolumeClaimSpec


KINDS = {"rayjob": RayJob, "raycluster": RayCluster, "runs": PersistentVolumeClaim}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((KUBERAY / f"{name}.yaml").read_text(encoding="utf-8"))


def understood(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """What is left of the content after it was read into its types: a key that Kubernetes does not know is lost."""
    return msgspec.to_builtins(msgspec.convert(content, KINDS[name]))


def cluster_of(name: str) -> dict[str, Any]:
    spec = read(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def pods(name: str) -> list[dict[str, Any]]:
    spec = cluster_of(name)
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@pytest.mark.parametrize("name", KINDS)
def test_every_key_and_type_is_one_that_kubernetes_knows(name):
    content = read(name)
    assert understood(name, content) == content


def test_an_unknown_key_or_a_wrong_type_is_seen_at_any_depth():
    content = read("rayjob")
    content["spec"]["backofLimit"] = 1
    with pytest.raises(msgspec.ValidationError, match="backofLimit"):
        understood("rayjob", content)
    content = read("rayjob")
    head = content["spec"]["rayClusterSpec"]["headGroupSpec"]
    head["template"]["spec"]["containers"][0]["volumMounts"] = []
    assert understood("rayjob", content) != content
    head["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(msgspec.ValidationError, match="rayStartParams"):
        understood("rayjob", content)


@pytest.mark.parametrize("name", ["rayjob", "raycluster"])
def test_a_pod_is_promised_the_gpus_and_memory_that_it_may_use(name):
    for pod in pods(name):
        resources = pod["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
        assert resources["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("name", ["rayjob", "raycluster"])
def test_every_pod_mounts_the_same_runs_and_enough_shared_memory_as_an_ordinary_user(name):
    claim = read("runs")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(name):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mounts == {"runs": "/home/ray/olal/runs", "shared-memory": "/dev/shm"}
        assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory"
        assert pod["securityContext"]["runAsUser"] == 1000


@pytest.mark.parametrize("name", ["rayjob", "raycluster"])
def test_tokens_are_on_and_the_head_takes_no_rollouts(name):
    spec = cluster_of(name)
    head, [rollout] = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert spec["authOptions"] == {"mode": "token"}
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert (head["labels"], rollout["labels"]) == ({"olal/role": "learner"}, {"olal/role": "rollout"})
    assert rollout["maxReplicas"] == 16
    for group in (head, rollout):
        port = group["rayStartParams"]["metrics-export-port"]
        ports = {port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]}
        assert str(ports["metrics"]) == port == "8080"


def test_the_cluster_that_stays_shrinks_to_none():
    spec = read("raycluster")["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["workerGroupSpecs"][0]["minReplicas"] == spec["workerGroupSpecs"][0]["replicas"] == 0
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] == 600


def test_a_job_that_is_retried_goes_on_and_its_cluster_goes_when_it_has_ended():
    spec = read("rayjob")["spec"]
    assert spec["entrypoint"].split()[:2] == ["cluster/launch_or_resume.sh", "runs/gridworld-16"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 16
