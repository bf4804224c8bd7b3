# SPDX-License-Identifier: Apache-2.0
"""The rules for each object of Kubernetes, as functions of a rendered overlay: each tells what is wrong, and with which
object."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from rendered import Facts, Manifest, Overlay, Pod, dig
from rules import HEALTHZ, READYZ, SECRET_NAME, STOP_SECONDS, broker_problems, image_problem, key_problems, parse_arguments

Problem = tuple[Manifest, str]
Check = Callable[[Overlay, Facts], Iterator[Problem]]

REPLICAS_MIN = 2
API_VERSIONS = {
    "ConfigMap": "v1", "Deployment": "apps/v1", "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1", "Job": "batch/v1", "Namespace": "v1", "NetworkPolicy": "networking.k8s.io/v1",
    "PersistentVolumeClaim": "v1", "PodDisruptionBudget": "policy/v1", "Service": "v1", "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}
# Kubernetes' "restricted" profile knows these volumes.
VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
# Makes a volume writable for the server that comes after it, where nothing else does: the one that may be root.
OPENS_VOLUME = "open-volume"


# ---- images and objects ----


def containers(overlay: Overlay) -> Iterator[tuple[Pod, dict[str, Any]]]:
    for pod in overlay.pods:
        for container in pod.all_containers:
            yield pod, container


def check_api_versions(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    for manifest in overlay.manifests:
        version = manifest.data.get("apiVersion")
        if manifest.kind not in API_VERSIONS:
            yield manifest, f"is of a kind that nothing here needs ({version})"
        elif version != API_VERSIONS[manifest.kind]:
            yield manifest, f"has apiVersion {version}, where {API_VERSIONS[manifest.kind]} is known"


def check_images(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    for pod, container in containers(overlay):
        why = image_problem(str(container.get("image", "")), facts.version)
        if why:
            yield pod.owner, f"container {container['name']}: {why}"
        if container.get("imagePullPolicy") == "Always":
            yield pod.owner, f"container {container['name']} fetches its image at every start (imagePullPolicy)"


# ---- containers ----


def probe_path(container: dict[str, Any], probe: str) -> str | None:
    return dig(container, probe, "httpGet", "path")


def check_probes(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """Nobody may be killed because the store is away, nor be asked while it is."""
    for pod in overlay.pods:
        if pod.owner.kind == "Job":
            continue
        for container in pod.containers:
            name = container["name"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield pod.owner, f"container {name} has no {probe}"
                    continue
                port = dig(container, probe, "httpGet", "port", default=dig(container, probe, "tcpSocket", "port"))
                if port is not None and port not in pod.ports:
                    yield pod.owner, f"container {name}: {probe} asks at port {port}, which no container has"
                path, wanted = probe_path(container, probe), READYZ if probe == "readinessProbe" else HEALTHZ
                if name in facts.keys and path != wanted:
                    yield pod.owner, f"container {name}: {probe} asks for {path}, not for {wanted}"


def check_resources(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    for pod, container in containers(overlay):
        for way in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if dig(container, "resources", *way) is None:
                yield pod.owner, f"container {container['name']} has no resources.{'.'.join(way)}"


def restricted_problems(pod: Pod, container: dict[str, Any]) -> Iterator[str]:
    def setting(name: str) -> Any:
        return dig(container, "securityContext", name, default=dig(pod.spec, "securityContext", name))

    own = dig(container, "securityContext", default={})
    if container["name"] != OPENS_VOLUME and (setting("runAsNonRoot") is not True or setting("runAsUser") == 0):
        yield "may run as root (runAsNonRoot)"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges (allowPrivilegeEscalation)"
    if own.get("privileged"):
        yield "is privileged"
    if "ALL" not in dig(own, "capabilities", "drop", default=[]):
        yield "keeps capabilities (capabilities.drop)"
    if dig(own, "capabilities", "add"):
        yield "adds capabilities"
    if dig(setting("seccompProfile"), "type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccompProfile"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "can write to its own file system (readOnlyRootFilesystem)"


def check_security(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """Kubernetes' restricted profile, a file system that cannot be written to, and no token of the cluster's."""
    for pod, container in containers(overlay):
        for why in restricted_problems(pod, container):
            yield pod.owner, f"container {container['name']} {why}"
    for pod in overlay.pods:
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(name):
                yield pod.owner, f"shares the node's own ({name})"
        for volume in pod.spec.get("volumes", []):
            for kind in volume.keys() - {"name"} - set(VOLUMES):
                yield pod.owner, f"has the volume {volume['name']}, of the kind {kind}"
        account = overlay.find("ServiceAccount", pod.spec.get("serviceAccountName", ""))
        if pod.spec.get("automountServiceAccountToken", dig(account and account.data, "automountServiceAccountToken")) \
                is not False:
            yield pod.owner, "has a token for the cluster's API (automountServiceAccountToken)"


def check_rolling(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """One instance of a service is replaced by another without a request being dropped."""
    for service in facts.keys:
        pod = overlay.service_pod(service)
        if pod is None:
            continue
        spec, container = pod.owner.data["spec"], pod.container(service)
        if dig(spec, "strategy", "rollingUpdate", "maxUnavailable") != 0:
            yield pod.owner, "stops an instance before another one is ready (strategy.rollingUpdate.maxUnavailable)"
        wait = dig(container, "lifecycle", "preStop", "sleep", "seconds", default=0)
        if wait <= 0:
            yield pod.owner, f"container {service} ends while it is still sent requests (lifecycle.preStop.sleep)"
        grace = dig(pod.spec, "terminationGracePeriodSeconds", default=0)
        if grace < wait + STOP_SECONDS:
            yield pod.owner, f"is killed {grace} s after it was told to end, and may take {wait + STOP_SECONDS} s"
        scaled = any(dig(scaler.data, "spec", "scaleTargetRef", "name") == pod.owner.name
                     for scaler in overlay.of("HorizontalPodAutoscaler"))
        if not scaled and dig(spec, "replicas", default=1) < REPLICAS_MIN:
            yield pod.owner, f"has fewer than {REPLICAS_MIN} replicas"
        if scaled and "replicas" in spec:
            yield pod.owner, "has a number of replicas although it is scaled: each deployment would reset it"
        if not pod.spec.get("topologySpreadConstraints"):
            yield pod.owner, "may have all its instances on one node (topologySpreadConstraints)"


# ---- what the services are told ----


def literal_environment(overlay: Overlay, container: dict[str, Any]) -> dict[str, str | None]:
    """All variables of a container; None stands for a value that is not in the manifests."""
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            manifest = overlay.find("ConfigMap", source["configMapRef"]["name"])
            data = dig(manifest and manifest.data, "data", default={})
            found |= {source.get("prefix", "") + name: value for name, value in data.items()}
    for variable in container.get("env", []):
        found[variable["name"]] = None if "valueFrom" in variable else variable.get("value", "")
    return found


def check_keys(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    for service, keys in facts.keys.items():
        pod = overlay.service_pod(service)
        if pod is None:
            yield Manifest({"kind": "overlay", "metadata": {"name": overlay.name}}), f"has no container {service}"
            continue
        for why in key_problems(literal_environment(overlay, pod.container(service) or {}), keys, service):
            yield pod.owner, f"container {service}: {why}"


# ---- the broker ----


def check_broker(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    for pod in overlay.pods:
        for container in pod.containers:
            words = [str(word) for word in [*container.get("command", []), *container.get("args", [])]]
            if "-cid" in parse_arguments(words):
                folders = [mount["mountPath"] for mount in container.get("volumeMounts", []) if mount["name"] in pod.claims]
                for why in broker_problems(words, facts.broker, folders):
                    yield pod.owner, f"container {container['name']}: {why}"


# ---- what must not be there ----


def check_secrets(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """No secret's value, and every value a text."""
    for manifest in overlay.of("Secret"):
        yield manifest, "is in the repository: infra/k8s/secrets.sh makes secrets"
    for pod, container in containers(overlay):
        for name, value in literal_environment(overlay, container).items():
            if value is not None and not isinstance(value, str):
                yield pod.owner, f"container {container['name']}: {name} is no text: write {value!r} in quotes"
            elif value and (SECRET_NAME.search(name) or urlsplit(value).password):
                yield pod.owner, f"container {container['name']}: {name} has a value that everybody can read"


CHECKS: dict[str, Check] = {
    "versions": check_api_versions,
    "images": check_images,
    "probes": check_probes,
    "resources": check_resources,
    "security": check_security,
    "rolling updates": check_rolling,
    "keys": check_keys,
    "broker": check_broker,
    "secrets": check_secrets,
}
