# SPDX-License-Identifier: Apache-2.0
"""The rules for what names something else in Kubernetes, as functions of a rendered overlay: what is selected, referred to,
connected to or routed to has to be there."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from manifests import REPLICAS_MIN, Check, Problem, literal_environment
from rendered import Facts, Manifest, Overlay, Pod, dig
from rules import HEALTHZ, READYZ, SERVICE_PORT, hosts_of

# What the ingress never shows.
PRIVATE_PATHS = (HEALTHZ, READYZ, "/metrics")

# Backends that the ingress names although nothing here makes them: it answers 503 until somebody does.
ABSENT_BACKENDS = ("payments-srv", "client-srv")
# What infra/k8s/secrets.sh or the operator makes (docs/DEPLOY.md), and the keys within.
SECRETS = {
    "jwt-secret": ("JWT_KEY", "JWT_KEY_PREVIOUS"),
    "ticketing-dev-tls": ("tls.crt", "tls.key"),
    "mongo-secret": ("root", "auth", "tickets", "orders"),
    "store-uris": ("auth", "tickets", "orders"),
}


# ---- what is selected and referred to ----


def pods_with(overlay: Overlay, labels: dict[str, str] | None) -> list[Pod]:
    return [pod for pod in overlay.pods if labels is not None and pod.has_labels(labels)]


def selector_problems(overlay: Overlay, manifest: Manifest, what: str, selector: Any) -> Iterator[Problem]:
    labels = dig(selector, "matchLabels", default={})
    if labels and not pods_with(overlay, labels):
        yield manifest, f"{what}finds no pod with {as_text(labels)}"


def as_text(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items())) or "nothing"


def policy_peers(policy: Manifest) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Direction, peer and ports of each rule."""
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for rule in dig(policy.data, "spec", direction, default=[]):
            for peer in rule.get(side, [{}]):
                yield direction, peer, rule.get("ports", [])


def check_selectors(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """What is selected is there, and nobody takes another's pods for its own."""
    makers = [pod for pod in overlay.pods if pod.owner.kind in ("Deployment", "StatefulSet", "DaemonSet")]
    for pod in makers:
        wanted = dig(pod.owner.data, "spec", "selector", "matchLabels", default={})
        if not wanted or not pod.has_labels(wanted):
            yield pod.owner, f"selects {as_text(wanted)}, and its pods have {as_text(pod.labels)}"
        for spread in pod.spec.get("topologySpreadConstraints", []):
            if not pod.has_labels(dig(spread, "labelSelector", "matchLabels", default={"": ""})):
                yield pod.owner, "spreads other pods than its own (topologySpreadConstraints)"
    for one, other in combinations(makers, 2):
        if other.has_labels(dig(one.owner.data, "spec", "selector", "matchLabels", default={})):
            yield one.owner, f"selects the pods of {other.owner.kind} {other.owner.name} too"
    for service in overlay.of("Service"):
        selector = dig(service.data, "spec", "selector", default={})
        if not pods_with(overlay, selector):
            yield service, f"finds no pod with {as_text(selector)}"
    for budget in overlay.of("PodDisruptionBudget"):
        yield from selector_problems(overlay, budget, "", dig(budget.data, "spec", "selector"))
        for pod in pods_with(overlay, dig(budget.data, "spec", "selector", "matchLabels", default={})):
            least = dig(budget.data, "spec", "minAvailable", default=0)
            replicas = dig(pod.owner.data, "spec", "replicas", default=1)
            if isinstance(least, int) and "replicas" in pod.owner.data["spec"] and least >= replicas:
                yield budget, f"lets no pod of {pod.owner.name} go: {least} of {replicas} must stay (minAvailable)"
    for policy in overlay.of("NetworkPolicy"):
        yield from selector_problems(overlay, policy, "", dig(policy.data, "spec", "podSelector"))
        for direction, peer, _ in policy_peers(policy):
            if "namespaceSelector" not in peer:
                yield from selector_problems(overlay, policy, f"{direction} ", peer.get("podSelector"))
    for scaler in overlay.of("HorizontalPodAutoscaler"):
        target = dig(scaler.data, "spec", "scaleTargetRef", default={})
        if overlay.find(target.get("kind", ""), target.get("name", "")) is None:
            yield scaler, f"scales {target.get('kind')} {target.get('name')}, which is not there"
        if dig(scaler.data, "spec", "minReplicas", default=1) < REPLICAS_MIN:
            yield scaler, f"goes below {REPLICAS_MIN} replicas (minReplicas)"


def secret_problems(name: str, key: str | None) -> Iterator[str]:
    if name not in SECRETS:
        yield f"takes Secret {name}, which nobody is told to make"
    elif key is not None and key not in SECRETS[name]:
        yield f"takes {key} of Secret {name}, which has only {', '.join(SECRETS[name])}"


def config_problems(overlay: Overlay, name: str, key: str | None) -> Iterator[str]:
    manifest = overlay.find("ConfigMap", name)
    if manifest is None:
        yield f"takes ConfigMap {name}, which is not there"
    elif key is not None and not any(key in dig(manifest.data, part, default={}) for part in ("data", "binaryData")):
        yield f"takes {key} of ConfigMap {name}, which does not have it"


def references(pod: Pod) -> Iterator[tuple[str, str, str | None]]:
    """("configMap" or "secret", name, key or None) of everything that a pod takes."""
    for container in pod.all_containers:
        for source in container.get("envFrom", []):
            for kind in ("configMap", "secret"):
                if f"{kind}Ref" in source:
                    yield kind, source[f"{kind}Ref"]["name"], None
        for variable in container.get("env", []):
            for kind in ("configMap", "secret"):
                if reference := dig(variable, "valueFrom", f"{kind}KeyRef"):
                    yield kind, reference["name"], reference["key"]
    for volume in pod.spec.get("volumes", []):
        for part in [volume, *dig(volume, "projected", "sources", default=[])]:
            for kind in ("configMap", "secret"):
                if kind in part:
                    name = part[kind].get("name") or part[kind].get("secretName")
                    for key in [item["key"] for item in part[kind].get("items", [])] or [None]:
                        yield kind, name, key


def check_references(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    for pod in overlay.pods:
        for kind, name, key in references(pod):
            problems = secret_problems(name, key) if kind == "secret" else config_problems(overlay, name, key)
            for why in problems:
                yield pod.owner, why
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])} | pod.claims
        for volume in pod.spec.get("volumes", []):
            claim = dig(volume, "persistentVolumeClaim", "claimName")
            if claim and overlay.find("PersistentVolumeClaim", claim) is None:
                yield pod.owner, f"takes PersistentVolumeClaim {claim}, which is not there"
        for container in pod.all_containers:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield pod.owner, f"container {container['name']} mounts {mount['name']}, which is no volume of the pod"
        account = pod.spec.get("serviceAccountName")
        if account and overlay.find("ServiceAccount", account) is None:
            yield pod.owner, f"runs as ServiceAccount {account}, which is not there"
        governing = dig(pod.owner.data, "spec", "serviceName")
        if governing and overlay.find("Service", governing) is None:
            yield pod.owner, f"is governed by Service {governing}, which is not there"
    for ingress in overlay.of("Ingress"):
        for entry in dig(ingress.data, "spec", "tls", default=[]):
            for why in secret_problems(entry.get("secretName", ""), None):
                yield ingress, why


def service_ports(service: Manifest) -> dict[str | int, int | str]:
    """By number and by name, the port of the pods."""
    found: dict[str | int, int | str] = {}
    for port in dig(service.data, "spec", "ports", default=[]):
        target = port.get("targetPort", port["port"])
        found[port["port"]] = target
        if "name" in port:
            found[port["name"]] = target
    return found


def check_ports(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """Who names a port names one that is there."""
    for service in overlay.of("Service"):
        for pod in pods_with(overlay, dig(service.data, "spec", "selector", default={})):
            for target in set(service_ports(service).values()) - pod.ports.keys():
                yield service, f"leads to port {target}, which {pod.owner.name} does not have"
    for policy in overlay.of("NetworkPolicy"):
        own = pods_with(overlay, dig(policy.data, "spec", "podSelector", "matchLabels", default={}))
        for direction, peer, ports in policy_peers(policy):
            if direction == "egress" and (not peer or "namespaceSelector" in peer or "ipBlock" in peer):
                continue
            others = pods_with(overlay, dig(peer, "podSelector", "matchLabels", default={}))
            sought = own if direction == "ingress" else others
            for port in (port["port"] for port in ports if "port" in port):
                if not any(port in pod.ports for pod in sought):
                    yield policy, f"{direction} speaks of port {port}, which no such pod has"
    for service in facts.keys:
        pod = overlay.service_pod(service)
        if pod and SERVICE_PORT not in pod.ports:
            yield pod.owner, f"container {service} has no port {SERVICE_PORT}"


# ---- who finds whom ----


def check_addresses(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """The store and the bus are where the services look for them, and the services where the ingress does."""
    for service in facts.keys:
        pod = overlay.service_pod(service)
        environment = literal_environment(overlay, pod.container(service) or {}) if pod else {}
        if pod and environment.get("PORT") not in (None, str(SERVICE_PORT)):
            yield pod.owner, f"container {service} listens on port {environment['PORT']}, not on {SERVICE_PORT}"
        for key in ("STORE_URI", "BUS_URI"):
            for host, port in hosts_of(environment.get(key) or ""):
                # A pod of a StatefulSet has its own name before that of the Service.
                target = overlay.find("Service", host) or overlay.find("Service", host.partition(".")[2])
                if pod and target is None:
                    yield pod.owner, f"container {service}: {key} leads to {host}, and there is no such Service"
                elif pod and target and port not in service_ports(target):
                    yield pod.owner, f"container {service}: {key} leads to port {port}, which {host} does not have"


def ingress_paths(ingress: Manifest) -> Iterator[tuple[str, str, Any]]:
    """Path, Service and its port."""
    for rule in dig(ingress.data, "spec", "rules", default=[]):
        for path in dig(rule, "http", "paths", default=[]):
            backend = dig(path, "backend", "service", default={})
            port = dig(backend, "port", "number", default=dig(backend, "port", "name"))
            yield path.get("path", ""), backend.get("name", ""), port


def check_routes(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """Every path of a service leads to it, and none to what is not for everybody."""
    ingresses = overlay.of("Ingress")
    routes = {path: name for ingress in ingresses for path, name, _ in ingress_paths(ingress)}
    for ingress in ingresses:
        for path, name, port in ingress_paths(ingress):
            service = overlay.find("Service", name)
            if service is None and name not in ABSENT_BACKENDS:
                yield ingress, f"{path} leads to Service {name}, which is not there"
            elif service and port not in service_ports(service):
                yield ingress, f"{path} leads to port {port}, which Service {name} does not have"
            if path in PRIVATE_PATHS or (path == "/" and name not in ABSENT_BACKENDS):
                yield ingress, f"{path} shows {', '.join(PRIVATE_PATHS)} of {name} to everybody"
    for service, prefixes in facts.prefixes.items():
        for prefix in prefixes:
            if routes.get(prefix) != f"{service}-srv" and ingresses:
                yield ingresses[0], f"{prefix} leads to {routes.get(prefix, 'nothing')}, not to {service}-srv"
    if not ingresses:
        yield Manifest({"kind": "overlay", "metadata": {"name": overlay.name}}), "has no Ingress"


def check_policies(overlay: Overlay, facts: Facts) -> Iterator[Problem]:
    """Only who must talks to whom: there is a policy for every pod, in both directions."""
    for pod in overlay.pods:
        for direction in ("Ingress", "Egress"):
            if not any(pod.has_labels(dig(policy.data, "spec", "podSelector", "matchLabels", default={}))
                       and direction in dig(policy.data, "spec", "policyTypes", default=[])
                       for policy in overlay.of("NetworkPolicy")):
                yield pod.owner, f"has no NetworkPolicy for {direction}"


CHECKS: dict[str, Check] = {
    "selectors": check_selectors,
    "references": check_references,
    "ports": check_ports,
    "addresses": check_addresses,
    "routes": check_routes,
    "network policies": check_policies,
}
