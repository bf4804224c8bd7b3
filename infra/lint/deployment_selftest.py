#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that each check of deployment.py accepts what is right and refuses what is wrong: on an overlay, compose files and
small trees of its own."""

import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

import yaml

import compositions
import manifests
import references
from checks import SPDX, Tree
from deployment import FILE_CHECKS, all_problems, composition_problems, instructions, overlay_problems
from rendered import COMPOSE, LOADER, Composition, Facts, Mount, Overlay, Port, RenderError, Rendered, compose, dig, \
    kustomize, mounts_of, overlays_to_build, ports_of, read_facts, read_keys, read_manifests, render, words_of
from rules import parse_arguments

ROOT = Path(__file__).resolve().parents[2]
HASH = f"# {SPDX}\n"
SHELL = f"#!/bin/sh\n{HASH}"
FACTS = Facts(keys={"tickets": ["PORT", "STORE_URI", "BUS_URI", "JWT_KEY", "LOG_LEVEL"]},
              prefixes={"tickets": ("/api/tickets",)},
              broker="-a 127.0.0.1 -p 14222 -m 18222 -hbi 5s -SD -cid ticketing -dir /run/nats -mm 0".split(),
              jetstream={"ping_interval": '"5s"', "ping_max": "2"}, version="1.2.3")

# An overlay as it should be, in small.
OVERLAY = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: tickets-depl
  annotations:
    config.kubernetes.io/origin: |
      path: base/tickets.yaml
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: tickets}}
  template:
    metadata: {labels: {app: tickets, part-of: turnstile}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 25
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: tickets}}}
      containers:
        - name: tickets
          image: turnstile-tickets:1.2.3
          ports: [{name: http, containerPort: 3000}]
          envFrom:
            - configMapRef: {name: turnstile-config}
          env:
            - {name: STORE_URI, value: "mongodb://mongo-srv:27017/tickets"}
            - {name: BUS_URI, value: "stan://nats-depl-0.nats-srv:4222/ticketing"}
            - {name: JWT_KEY, valueFrom: {secretKeyRef: {name: jwt-secret, key: JWT_KEY}}}
          startupProbe: {httpGet: {path: /healthz, port: http}}
          livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 9}
          readinessProbe: {httpGet: {path: /readyz, port: 3000}}
          resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 128Mi}}
          lifecycle: {preStop: {sleep: {seconds: 5}}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: nats-depl}
spec:
  serviceName: nats-srv
  selector: {matchLabels: {app: nats}}
  template:
    metadata: {labels: {app: nats}}
    spec: &server
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      volumes: [{name: files, configMap: {name: nats-files, items: [{key: nats.conf, path: nats.conf}]}}]
      containers:
        - &container
          name: nats
          image: nats-streaming:0.25.6-alpine
          args: [-cid=ticketing, -a, 0.0.0.0, -p, "4222", -m, "8222", -hbi, 5s, -SD, -dir, /data/streaming, -mm, "0"]
          ports: [{name: client, containerPort: 4222}, {name: monitoring, containerPort: 8222}]
          startupProbe: &probe {tcpSocket: {port: client}}
          livenessProbe: *probe
          readinessProbe: *probe
          resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 128Mi}}
          volumeMounts: [{name: data, mountPath: /data}, {name: files, mountPath: /etc/nats}]
          securityContext: &context
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
  volumeClaimTemplates: [{metadata: {name: data}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mongo-depl}
spec:
  serviceName: mongo-srv
  selector: {matchLabels: {app: mongo}}
  template:
    metadata: {labels: {app: mongo}}
    spec:
      serviceAccountName: mongo
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      volumes: [{name: data, persistentVolumeClaim: {claimName: mongo-data}}]
      containers:
        - name: mongo
          image: mongo:7.0
          ports: [{containerPort: 27017}]
          startupProbe: &shell {exec: {command: [mongosh]}}
          livenessProbe: *shell
          readinessProbe: *shell
          resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 128Mi}}
          volumeMounts: [{name: data, mountPath: /data}]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: mongo}, automountServiceAccountToken: false}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: mongo-data}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: turnstile-config}, data: {PORT: "3000", LOG_LEVEL: ""}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: nats-files}, data: {nats.conf: "listen: 4222"}}
---
apiVersion: v1
kind: Service
metadata: {name: tickets-srv}
spec: {selector: {app: tickets}, ports: [{name: http, port: 3000, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: nats-srv}
spec: {selector: {app: nats}, ports: [{name: client, port: 4222, targetPort: client}, {name: monitoring, port: 8222}]}
---
apiVersion: v1
kind: Service
metadata: {name: mongo-srv}
spec: {selector: {app: mongo}, ports: [{port: 27017}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ingress-service}
spec:
  tls: [{hosts: [ticketing.dev], secretName: ticketing-dev-tls}]
  rules:
    - host: ticketing.dev
      http:
        paths:
          - {path: /api/tickets, backend: {service: {name: tickets-srv, port: {number: 3000}}}}
          - {path: /api, backend: {service: {name: tickets-srv, port: {name: http}}}}
          - {path: /api/payments, backend: {service: {name: payments-srv, port: {number: 3000}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: tickets-pdb}
spec: {minAvailable: 1, selector: {matchLabels: {app: tickets}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nobody}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nats}
spec:
  podSelector: {matchLabels: {app: nats}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {part-of: turnstile}}}], ports: [{port: 4222}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: tickets}
spec:
  podSelector: {matchLabels: {app: tickets}}
  policyTypes: [Egress]
  egress:
    - {to: [{podSelector: {matchLabels: {app: mongo}}}], ports: [{port: 27017}]}
    - {to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: nats}
spec: {scaleTargetRef: {kind: StatefulSet, name: nats-depl}, minReplicas: 2}
"""

# For each check: what is changed in the overlay, and the words that this must bring about. A change that begins with ---
# is another object.
Changes = list[tuple[str, str, str]]
MANIFEST_SAMPLES: dict[str, Changes] = {
    "versions": [
        ("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n", "PodDisruptionBudget tickets-pdb has apiVersion policy/v1beta1"),
        ("", "---\n{apiVersion: v1, kind: ReplicationController, metadata: {name: old}}", "ReplicationController old is of a kind"),
    ],
    "images": [
        ("turnstile-tickets:1.2.3", "turnstile-tickets", "base/tickets.yaml: Deployment tickets-depl container tickets: image turnstile-tickets has no tag"),
        ("turnstile-tickets:1.2.3", "host:5000/turnstile-tickets", "has no tag"),
        ("nats-streaming:0.25.6-alpine", "nats-streaming:latest", "StatefulSet nats-depl container nats: image nats-streaming:latest is another one"),
        ("turnstile-tickets:1.2.3", "host/turnstile-tickets:1.2.2", "is of another version than 1.2.3"),
        ("image: mongo:7.0", "image: mongo:7.0\n          imagePullPolicy: Always", "fetches its image at every start"),
    ],
    "probes": [
        ("startupProbe: {httpGet: {path: /healthz, port: http}}", "", "container tickets has no startupProbe"),
        ("livenessProbe: {httpGet: {path: /healthz,", "livenessProbe: {httpGet: {path: /readyz,", "livenessProbe asks for /readyz, not for /healthz"),
        ("path: /readyz, port: 3000", "path: /healthz, port: 3000", "readinessProbe asks for /healthz, not for /readyz"),
        ("path: /readyz, port: 3000", "path: /readyz, port: 3001", "at port 3001, which no container has"),
        ("tcpSocket: {port: client}", "tcpSocket: {port: nothing}", "container nats: livenessProbe asks at port nothing"),
    ],
    "resources": [
        ("{requests: {cpu: 50m, memory: 32Mi}", "{requests: {memory: 32Mi}", "container tickets has no resources.requests.cpu"),
        ("{requests: {cpu: 50m, memory: 32Mi}", "{requests: {cpu: 50m}", "has no resources.requests.memory"),
        (", limits: {memory: 128Mi}", "", "has no resources.limits.memory"),
        ("      containers:\n        - name: mongo", "      initContainers: [{name: first, image: a:1}]\n      containers:\n        - name: mongo",
         "container first has no resources"),
    ],
    "security": [
        ("{runAsNonRoot: true, ", "{", "container tickets may run as root"),
        ("{runAsNonRoot: true, ", "{runAsNonRoot: true, runAsUser: 0, ", "container tickets may run as root"),
        ("{runAsNonRoot: true, ", "{runAsNonRoot: false, ", "container tickets may run as root"),
        ("            allowPrivilegeEscalation: false\n", "", "container tickets may gain privileges"),
        ("            allowPrivilegeEscalation: false\n", "            allowPrivilegeEscalation: false\n            privileged: true\n", "is privileged"),
        ("            capabilities: {drop: [ALL]}", "", "container tickets keeps capabilities"),
        ("            capabilities: {drop: [ALL]}", "            capabilities: {drop: [ALL], add: [CHOWN]}", "container tickets adds capabilities"),
        (", seccompProfile: {type: RuntimeDefault}", "", "container tickets has no seccompProfile"),
        (", seccompProfile: {type: RuntimeDefault}", ", seccompProfile: {type: Unconfined}", "container tickets has no seccompProfile"),
        ("            readOnlyRootFilesystem: true\n", "", "container tickets can write to its own file system"),
        ("      automountServiceAccountToken: false\n      termination", "      termination", "Deployment tickets-depl has a token"),
        ("      serviceAccountName: mongo\n", "", "StatefulSet mongo-depl has a token"),
        ("      serviceAccountName: mongo\n", "      serviceAccountName: mongo\n      hostNetwork: true\n", "shares the node's own (hostNetwork)"),
        ("persistentVolumeClaim: {claimName: mongo-data}", "hostPath: {path: /}", "has the volume data, of the kind hostPath"),
        ("      containers:\n        - name: mongo", "      initContainers: [{name: open-volume, securityContext: {runAsUser: 0}}]\n      containers:\n        - name: mongo",
         "container open-volume may gain privileges"),
    ],
    "rolling updates": [
        ("maxUnavailable: 0", "maxUnavailable: 1", "stops an instance before another one is ready"),
        ("  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}\n", "", "stops an instance before another one is ready"),
        ("          lifecycle: {preStop: {sleep: {seconds: 5}}}\n", "", "ends while it is still sent requests"),
        ("GracePeriodSeconds: 25", "GracePeriodSeconds: 14", "is killed 14 s after it was told to end, and may take 15 s"),
        ("replicas: 2\n", "replicas: 1\n", "has fewer than 2 replicas"),
        ("{kind: StatefulSet, name: nats-depl}", "{kind: Deployment, name: tickets-depl}", "has a number of replicas although it is scaled"),
        ("      topologySpreadConstraints:\n", "      affinity:\n", "may have all its instances on one node"),
    ],
    "keys": [
        ("            - {name: STORE_URI,", "            - {name: STORE,", "container tickets: STORE_URI, which tickets reads, is not set"),
        ("            - {name: STORE_URI,", "            - {name: STORE,", "container tickets: STORE is set, which tickets does not know"),
        (', LOG_LEVEL: ""', "", "LOG_LEVEL, which tickets reads, is not set"),
        ('LOG_LEVEL: ""', 'LOG_LEVEL: "", COLOUR: red', "COLOUR is set, which tickets does not know"),
        ('LOG_LEVEL: ""', 'LOG_LEVEL: "", STORE_URI_FILE: /a', "STORE_URI and STORE_URI_FILE are both set"),
        ("- name: tickets\n", "- name: billets\n", "overlay test has no container tickets"),
    ],
    "broker": [
        ('-m, "8222", ', "", "container nats: NATS Streaming lacks -m 8222"),
        (", -SD", "", "lacks -SD"),
        ("-hbi, 5s", "-hbi, 30s", "has -hbi 30s, not -hbi 5s"),
        ("-a, 0.0.0.0", "-a, 127.0.0.1", "has -a 127.0.0.1, not -a 0.0.0.0"),
        (', -mm, "0"', ', -mm, "0", -mc, "5"', "has -mc, which the local runner does not give"),
        (', -mm, "0"', ', -mm, "0", -file_sync=false', "has -file_sync"),
        ("-dir, /data/streaming", "-dir, /database", "keeps its events in /database, which does not outlive it"),
        ("-dir, /data/streaming", "-dir, /etc/nats", "keeps its events in /etc/nats, which does not outlive it"),
        ("-dir, /data/streaming, ", "", "keeps its events in no folder"),
    ],
    "secrets": [
        ("", "---\n{apiVersion: v1, kind: Secret, metadata: {name: jwt-secret}, data: {}}", "Secret jwt-secret is in the repository"),
        ("{name: JWT_KEY, valueFrom: {secretKeyRef: {name: jwt-secret, key: JWT_KEY}}}", "{name: JWT_KEY, value: abc}",
         "container tickets: JWT_KEY has a value that everybody can read"),
        ("mongodb://mongo-srv", "mongodb://tickets:abc@mongo-srv", "STORE_URI has a value that everybody can read"),
        ('PORT: "3000"', "PORT: 3000", "PORT is no text: write 3000 in quotes"),
    ],
    "selectors": [
        ("selector: {matchLabels: {app: tickets}}\n  template", "selector: {matchLabels: {app: billets}}\n  template",
         "selects app=billets, and its pods have app=tickets, part-of=turnstile"),
        ("selector: {matchLabels: {app: nats}}\n  template", "selector: {}\n  template", "StatefulSet nats-depl selects nothing"),
        ("labelSelector: {matchLabels: {app: tickets}}", "labelSelector: {matchLabels: {app: mongo}}", "spreads other pods than its own"),
        ("{labels: {app: nats}}", "{labels: {app: tickets}}", "Deployment tickets-depl selects the pods of StatefulSet nats-depl too"),
        ("selector: {app: tickets}", "selector: {app: billets}", "Service tickets-srv finds no pod with app=billets"),
        ("selector: {matchLabels: {app: tickets}}}\n", "selector: {matchLabels: {app: billets}}}\n", "PodDisruptionBudget tickets-pdb finds no pod"),
        ("minAvailable: 1", "minAvailable: 2", "lets no pod of tickets-depl go: 2 of 2 must stay"),
        ("podSelector: {matchLabels: {app: nats}}\n", "podSelector: {matchLabels: {app: gnats}}\n", "NetworkPolicy nats finds no pod with app=gnats"),
        ("podSelector: {matchLabels: {part-of: turnstile}}", "podSelector: {matchLabels: {part-of: it}}", "NetworkPolicy nats ingress finds no pod with part-of=it"),
        ("{to: [{podSelector: {matchLabels: {app: mongo}}}]", "{to: [{podSelector: {matchLabels: {app: mango}}}]", "NetworkPolicy tickets egress finds no pod"),
        ("{kind: StatefulSet, name: nats-depl}", "{kind: Deployment, name: nats-depl}", "scales Deployment nats-depl, which is not there"),
        ("minReplicas: 2", "minReplicas: 1", "goes below 2 replicas"),
    ],
    "references": [
        ("secretKeyRef: {name: jwt-secret,", "secretKeyRef: {name: jwt-secrets,", "takes Secret jwt-secrets, which nobody is told to make"),
        ("key: JWT_KEY}", "key: KEY}", "takes KEY of Secret jwt-secret, which has only JWT_KEY"),
        ("configMapRef: {name: turnstile-config}", "configMapRef: {name: config}", "takes ConfigMap config, which is not there"),
        ("{key: nats.conf,", "{key: nats.cfg,", "takes nats.cfg of ConfigMap nats-files, which does not have it"),
        ("configMap: {name: nats-files, items: [{key: nats.conf, path: nats.conf}]}", "secret: {secretName: files}", "takes Secret files, which nobody"),
        ("configMap: {name: nats-files, items: [{key: nats.conf, path: nats.conf}]}", "projected: {sources: [{configMap: {name: missing}}]}", "takes ConfigMap missing"),
        ("{name: files, mountPath", "{name: fails, mountPath", "container nats mounts fails, which is no volume"),
        ("claimName: mongo-data", "claimName: mango-data", "takes PersistentVolumeClaim mango-data, which is not there"),
        ("serviceAccountName: mongo", "serviceAccountName: mango", "runs as ServiceAccount mango, which is not there"),
        ("serviceName: nats-srv", "serviceName: gnats-srv", "is governed by Service gnats-srv, which is not there"),
        ("secretName: ticketing-dev-tls", "secretName: tls", "Ingress ingress-service takes Secret tls"),
    ],
    "ports": [
        ("targetPort: client", "targetPort: clients", "Service nats-srv leads to port clients, which nats-depl does not have"),
        ("port: 8222}", "port: 8223}", "leads to port 8223"),
        ("ports: [{port: 4222}]", "ports: [{port: 4223}]", "ingress speaks of port 4223, which no such pod has"),
        ("ports: [{port: 27017}]}\n    -", "ports: [{port: 27018}]}\n    -", "egress speaks of port 27018, which no such pod has"),
        ("[{name: http, containerPort: 3000}]", "[{name: http, containerPort: 3001}]", "container tickets has no port 3000"),
    ],
    "addresses": [
        ("mongodb://mongo-srv:27017", "mongodb://mongo:27017", "STORE_URI leads to mongo, and there is no such Service"),
        ("mongodb://mongo-srv:27017", "mongodb://mongo-srv:27018", "STORE_URI leads to port 27018, which Service mongo-srv does not have"),
        ("stan://nats-depl-0.nats-srv:4222", "stan://nats-srv:4222,gnats-srv:4222", "BUS_URI leads to gnats-srv"),
        ('PORT: "3000"', 'PORT: "3001"', "listens on port 3001, not on 3000"),
    ],
    "routes": [
        ("path: /api/tickets,", "path: /api/billets,", "/api/tickets leads to nothing, not to tickets-srv"),
        ("path: /api/tickets, backend: {service: {name: tickets-srv", "path: /api/tickets, backend: {service: {name: mongo-srv",
         "/api/tickets leads to mongo-srv, not to tickets-srv"),
        ("{name: payments-srv,", "{name: payment-srv,", "leads to Service payment-srv, which is not there"),
        ("{number: 3000}}}}\n          - {path: /api,", "{number: 3001}}}}\n          - {path: /api,", "leads to port 3001, which Service tickets-srv does not have"),
        ("path: /api,", "path: /,", "/ shows /healthz, /readyz, /metrics of tickets-srv to everybody"),
        ("path: /api,", "path: /metrics,", "/metrics shows"),
        ("kind: Ingress\n", "kind: Egress\n", "overlay test has no Ingress"),
    ],
    "network policies": [
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", "{podSelector: {}, policyTypes: [Ingress]}", "StatefulSet nats-depl has no NetworkPolicy for Egress"),
        ("{podSelector: {}, policyTypes", "{podSelector: {matchLabels: {app: mongo}}, policyTypes", "Deployment tickets-depl has no NetworkPolicy for Ingress"),
    ],
}

COMPOSITION = """
services:
  tickets:
    image: turnstile-tickets:1.2.3
    restart: unless-stopped
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    stop_grace_period: 15s
    environment:
      PORT: "3000"
      STORE_URI_FILE: /run/secrets/tickets_store_uri
      STORE_URI: ""
      BUS_URI: stan://nats:4222/ticketing
      JWT_KEY_FILE: /run/secrets/jwt_key
      LOG_LEVEL:
    depends_on: {nats: {condition: service_healthy}}
  nats:
    image: nats-streaming:0.25.6-alpine
    restart: unless-stopped
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    stop_grace_period: 1m0s
    healthcheck: {test: [CMD, wget]}
    command: -cid ticketing -a 0.0.0.0 -p 4222 -m 8222 -hbi 5s -SD -dir /data -mm 0
    volumes: ["nats-data:/data:rw"]
    ports: ["127.0.0.1:4222:4222/tcp"]
  tool:
    profiles: [tools]
    image: turnstile-eventctl:1.2.3
    read_only: true
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
secrets:
  jwt_key: {file: /home/.secrets/jwt_key}
"""

COMPOSITION_SAMPLES: dict[str, Changes] = {
    "images": [
        ("    image: turnstile-tickets:1.2.3\n", "", "docker-compose.yml: tickets has no image name"),
        ("turnstile-tickets:1.2.3", "turnstile-tickets", "has no tag"),
        ("turnstile-tickets:1.2.3", "turnstile-tickets:1.2.4", "is of another version than 1.2.3"),
        ("turnstile-tickets:1.2.3", "turnstile-orders:1.2.3", "runs the image turnstile-orders:1.2.3, not turnstile-tickets"),
        ("nats-streaming:0.25.6-alpine", "nats-streaming:latest", "nats image nats-streaming:latest is another one"),
    ],
    "published ports": [
        ("127.0.0.1:4222:4222", "4222:4222", "nats publishes port 4222 on every address, not on 127.0.0.1"),
        ("127.0.0.1:4222:4222/tcp", "0.0.0.0:4222:4222/tcp", "publishes port 4222 on 0.0.0.0"),
        ("127.0.0.1:4222:4222/tcp", "4222", "publishes port 4222 on every address"),
        ('"127.0.0.1:4222:4222/tcp"', "{target: 4222, published: 4000}", "publishes port 4000 on every address"),
    ],
    "security": [
        ("    read_only: true\n", "", "tickets can write to its own file system"),
        ("    cap_drop: [ALL]\n", "    cap_drop: [CHOWN]\n", "tickets keeps capabilities"),
        ("    cap_drop: [ALL]\n", "    cap_drop: [ALL]\n    cap_add: [CHOWN]\n", "tickets adds capabilities: CHOWN"),
        ('    security_opt: ["no-new-privileges:true"]\n', "", "tickets may gain privileges"),
        ("    read_only: true\n", "    read_only: true\n    privileged: true\n", "tickets is privileged"),
        ("    read_only: true\n", "    read_only: true\n    user: '0:0'\n", "tickets runs as root"),
        ("    read_only: true\n", "    read_only: true\n    network_mode: host\n", "shares the machine's own (network_mode: host)"),
        ('"nats-data:/data:rw"', '"/var/run/docker.sock:/data"', "nats can command the Docker engine"),
    ],
    "life": [
        ("    restart: unless-stopped\n", "", "tickets is not started again when it dies"),
        ("stop_grace_period: 15s", "stop_grace_period: 10s", "tickets is killed before it can have ended"),
        ("    stop_grace_period: 1m0s\n", "", "nats is killed before it can have ended"),
        ("    healthcheck: {test: [CMD, wget]}\n", "", "nats has no healthcheck"),
        ("    healthcheck: {test: [CMD, wget]}\n", "    healthcheck: {disable: true}\n", "nats has no healthcheck"),
        ("condition: service_healthy", "condition: service_started", "tickets does not wait until nats is healthy"),
        ("depends_on: {nats: {condition: service_healthy}}", "depends_on: [nats]", "tickets does not wait until nats is healthy"),
    ],
    "keys": [
        ("      LOG_LEVEL:\n", "", "tickets LOG_LEVEL, which tickets reads, is not set"),
        ("      LOG_LEVEL:\n", "      LOG_LEVEL:\n      LOG_LEVELS: info\n", "tickets LOG_LEVELS is set, which tickets does not know"),
        ('STORE_URI: ""', "STORE_URI: mongodb://mongo", "STORE_URI and STORE_URI_FILE are both set"),
        ("  tickets:\n", "  billets:\n", "tickets is missing"),
    ],
    "addresses": [
        ("stan://nats:4222", "stan://gnats:4222", "tickets BUS_URI leads to gnats, which is no service"),
        ('PORT: "3000"', 'PORT: "3001"', "tickets listens on port 3001, not on 3000"),
    ],
    "broker": [
        ("-mm 0", "-mm 1000", "nats NATS Streaming has -mm 1000, not -mm 0"),
        ("-dir /data ", "-dir /tmp ", "keeps its events in /tmp, which does not outlive it"),
        ('"nats-data:/data:rw"', '"/folder:/data:rw"', "keeps its events in /data, which does not outlive it"),
    ],
    "secrets": [
        ("/home/.secrets/jwt_key", "/home/jwt_key", "secret jwt_key is no file in .secrets/"),
        ("JWT_KEY_FILE: /run/secrets/jwt_key", "JWT_KEY: abc", "tickets JWT_KEY has a value that everybody can read"),
        ("stan://nats:4222", "stan://me:abc@nats:4222", "tickets BUS_URI has a value that everybody can read"),
    ],
}

DOCKERFILE = HASH + """FROM debian:bookworm-slim AS build
RUN apt-get update && \\
    # what it takes
    apt-get install --yes --no-install-recommends gcc && \\
    rm -rf /var/lib/apt/lists/*
FROM scratch AS tool
USER 65532:65532
ENTRYPOINT ["/program"]
COPY --from=build /image/ /
ARG VERSION=1.2.3
FROM tool AS service
HEALTHCHECK --interval=5s CMD ["/program", "--healthcheck"]
"""
SKAFFOLD = HASH + """apiVersion: skaffold/v4beta11
kind: Config
build:
  artifacts: [{image: turnstile-tickets, docker: {buildArgs: {PROGRAM: services/tickets}}}]
manifests: {kustomize: {paths: [infra/k8s/overlays/local]}}
profiles: [{name: debian, manifests: {kustomize: {paths: [infra/k8s/overlays/debian]}}}]
"""
Files = dict[str, str]
CUSTOM = SKAFFOLD.replace("docker: {buildArgs: {PROGRAM: services/tickets}}", """custom: {
  buildCommand: docker build --tag "$IMAGE" --build-arg PROGRAM=services/tickets .,
  dependencies: {dockerfile: {path: Dockerfile, buildArgs: {PROGRAM: services/tickets}}}}""")
FILE_SAMPLES: dict[str, tuple[Files, list[tuple[Files, str]]]] = {
    "Dockerfiles": ({"Dockerfile": DOCKERFILE, "infra/debian/nats/Dockerfile": HASH + "FROM a:1\nUSER 1000\nCMD [\"a\"]\n"}, [
        ({"Dockerfile": DOCKERFILE.replace("debian:bookworm-slim", "debian:latest")}, "Dockerfile:2: image debian:latest"),
        ({"Dockerfile": DOCKERFILE.replace("debian:bookworm-slim", "debian")}, "image debian has no tag"),
        ({"Dockerfile": DOCKERFILE.replace("USER 65532:65532\n", "")}, "Dockerfile:12: ends as user root"),
        ({"Dockerfile": DOCKERFILE.replace("USER 65532:65532", "USER nobody")}, "ends as user nobody"),
        ({"Dockerfile": DOCKERFILE.replace("USER 65532:65532", "USER 0")}, "ends as user 0"),
        ({"Dockerfile": DOCKERFILE + "FROM scratch\n"}, "ends as user root"),
        ({"Dockerfile": DOCKERFILE.replace('["/program"]', "/program")}, "Dockerfile:9: ENTRYPOINT runs a shell"),
        ({"Dockerfile": DOCKERFILE.replace('ENTRYPOINT ["/program"]\n', "")}, "says nowhere what it runs"),
        ({"Dockerfile": DOCKERFILE.replace(' CMD ["/program", "--healthcheck"]', " NONE")}, "does not ask the service how it is"),
        ({"Dockerfile": DOCKERFILE.replace(" --no-install-recommends", "")}, "Dockerfile:3: apt-get install brings recommended"),
        ({"Dockerfile": DOCKERFILE.replace("RUN apt", "RUN --mount=type=cache,target=/a apt")}, "Dockerfile:3: RUN has options"),
        ({"Dockerfile": DOCKERFILE.replace("COPY --from=build /image/ /", "ADD a.tar /")}, "Dockerfile:10: ADD"),
        ({"Dockerfile": "# syntax=docker/dockerfile:1\n" + DOCKERFILE}, "asks for a builder of its own"),
        ({"Dockerfile": DOCKERFILE.replace("1.2.3", "1.2.4")}, "VERSION is 1.2.4, and 1.2.3 in the Makefile"),
        ({"infra/debian/nats/Dockerfile": HASH + "FROM a:1\nCMD [\"a\"]\n"}, "infra/debian/nats/Dockerfile:3: ends as user root"),
    ]),
    "skaffold": ({"skaffold.yaml": SKAFFOLD, "infra/k8s/overlays/local/kustomization.yaml": "",
                  "infra/k8s/overlays/debian/kustomization.yaml": ""}, [
        ({"skaffold.yaml": SKAFFOLD.replace("v4beta11", "v2")}, "has apiVersion skaffold/v2"),
        ({"skaffold.yaml": SKAFFOLD.replace("services/tickets", "services/orders")}, "does not build services/tickets as turnstile-tickets"),
        ({"skaffold.yaml": SKAFFOLD.replace("image: turnstile", "image: our")}, "does not build services/tickets"),
        ({"skaffold.yaml": CUSTOM.replace("PROGRAM=services/tickets", "PROGRAM=services/orders")}, "does not build services/tickets"),
        ({"skaffold.yaml": CUSTOM.replace("PROGRAM: services/tickets", "PROGRAM: services/orders")}, "does not build services/tickets"),
        ({"skaffold.yaml": SKAFFOLD.replace("overlays/local", "overlays/locale")}, "infra/k8s/overlays/locale is no kustomization"),
        ({"skaffold.yaml": SKAFFOLD.replace("overlays/debian", "overlays/debias")}, "infra/k8s/overlays/debias is no kustomization"),
    ]),
    "kept secrets": ({".gitignore": "build/\n.secrets/\n", ".dockerignore": "*\n!common\n",
                      "docker-compose.yml": "image: a@sha256:" + "0123456789abcdef" * 4 + "\npath: /spec/template/spec/initContainers/0/image\n",
                      "infra/compose/secrets.sh": "name=organization.opencontainers.image\n"}, [
        ({".gitignore": "build/\n"}, ".gitignore: does not name .secrets/"),
        ({".dockerignore": "build\n"}, ".dockerignore: lets .secrets/ get into an image"),
        ({"infra/k8s/base/a.env": "\nJWT_KEY=" + "0123456789abcdef" * 2}, "infra/k8s/base/a.env:2: looks like a secret"),
        ({"docker-compose.yml": "key: " + "aB3+" * 11 + "="}, "docker-compose.yml:1: looks like a secret"),
        ({"infra/nginx/key.pem": "-----BEGIN EC PRIVATE KEY-----"}, "infra/nginx/key.pem:1: looks like a secret"),
    ]),
    "pages": ({"docs/CONFIGURATION.md": "`PORT` `STORE_URI` `BUS_URI` `JWT_KEY` `LOG_LEVEL`\n",
               "docs/DEPLOY.md": "jwt-secret ticketing-dev-tls mongo-secret store-uris TAG\n",
               "docker-compose.yml": "a: ${TAG:-1} $PORT $$HOME\n"}, [
        ({"docs/CONFIGURATION.md": "`PORT` `STORE_URI` `BUS_URI` `JWT_KEY`"}, "docs/CONFIGURATION.md: LOG_LEVEL, which tickets reads, is missing"),
        ({"docker-compose.debian.yml": "a: ${COLOUR}\n"}, "docker-compose.debian.yml: COLOUR is neither in"),
        ({"docs/DEPLOY.md": "jwt-secret ticketing-dev-tls mongo-secret TAG\n"}, "docs/DEPLOY.md: the Secret store-uris is missing"),
    ]),
    "JetStream": ({"infra/compose/jetstream/server.conf": "include cluster.conf\njetstream {\n  sync_interval: always\n}\n",
                   "infra/compose/jetstream/cluster.conf": 'ping_interval: "5s"\nping_max: 2\n',
                   "infra/compose/jetstream/server.debian.conf": "jetstream {\n}\n", "infra/nginx/http.conf": "gzip on;\n"}, [
        ({"infra/compose/jetstream/cluster.conf": 'ping_interval: "50s"\nping_max: 2\n'},
         'infra/compose/jetstream: JetStream is not told ping_interval: "5s"'),
        ({"infra/compose/jetstream/server.conf": "jetstream {}\n"}, "JetStream is not told sync_interval: always"),
    ]),
    "made secrets": ({"infra/compose/secrets.sh": SHELL + 'echo a >"$SECRETS_DIR/jwt_key"\n'}, [
        ({"infra/compose/secrets.sh": SHELL + 'echo a >"$SECRETS_DIR/key"\n'}, "docker-compose.yml: the secret jwt_key is none"),
        ({"infra/compose/secrets.sh": SHELL + "echo no room; exit 1\n"}, "infra/compose/secrets.sh: no room"),
        ({"infra/compose/secrets.sh": "#!/nonexistent\n"}, "infra/compose/secrets.sh: env: "),
    ]),
    "compose sets": ({COMPOSE: ""}, [
        ({"docker-compose.local.yml": ""}, "docker-compose.local.yml: is read together with nothing"),
    ]),
}

# What kustomize and compose are tried on.
KUSTOMIZATIONS = {
    "infra/k8s/base/kustomization.yaml": "resources: [map.yaml]\n",
    "infra/k8s/base/map.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {b: c}}\n",
    "infra/k8s/overlays/local/kustomization.yaml": "resources: [../../base]\n",
    "infra/k8s/overlays/other/kustomization.yaml": "resources: [../../base]\ncomponents: [../../components/taken]\n",
    "infra/k8s/components/taken/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n",
    "infra/k8s/components/free/kustomization.yaml": "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\n"
                                                    "namePrefix: my-\n",
}
COMPOSE_FILE = """services:
  tickets:
    image: turnstile-tickets:${TAG:-1.2.3}
    command: a "b c"
    ports: ["127.0.0.1:${HTTP_PORT:-8080}:80", "90"]
    volumes: ["data:/data", "./folder:/folder:ro"]
volumes: {data: {}}
"""


class SelfTest(unittest.TestCase):
    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def tree(self, files: Files) -> Tree:
        root = Path(tempfile.mkdtemp(dir=self.root))
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        return Tree(root, services=list(FACTS.keys))

    def changed(self, text: str, old: str, new: str) -> str:
        """The first that is found is changed; a text without the old is a sample that shows nothing."""
        if not old:
            return text + new
        self.assertIn(old, text)
        return text.replace(old, new, 1)

    def rendered(self, overlay: str = OVERLAY, composition: str = COMPOSITION) -> Rendered:
        return Rendered(FACTS, [Overlay("test", read_manifests(overlay))],
                        [Composition((COMPOSE,), yaml.load(composition, LOADER))], [])

    def test_every_check_has_samples(self) -> None:
        self.assertEqual(set(manifests.CHECKS | references.CHECKS), set(MANIFEST_SAMPLES))
        self.assertEqual(set(compositions.CHECKS), set(COMPOSITION_SAMPLES))
        self.assertEqual(set(FILE_CHECKS), set(FILE_SAMPLES))

    def test_each_check_of_manifests(self) -> None:
        for name, check in (manifests.CHECKS | references.CHECKS).items():
            with self.subTest(name):
                self.assertEqual(overlay_problems(self.rendered(), check), [])
            for old, new, words in MANIFEST_SAMPLES[name]:
                with self.subTest(name, new=new):
                    problems = overlay_problems(self.rendered(self.changed(OVERLAY, old, new)), check)
                    self.assertIn(words, "\n".join(problems))
                    self.assertTrue(problems)

    def test_each_check_of_compositions(self) -> None:
        for name, check in compositions.CHECKS.items():
            with self.subTest(name):
                self.assertEqual(composition_problems(self.rendered(), check), [])
            for old, new, words in COMPOSITION_SAMPLES[name]:
                with self.subTest(name, new=new):
                    changed = self.rendered(composition=self.changed(COMPOSITION, old, new))
                    self.assertIn(words, "\n".join(composition_problems(changed, check)))

    def test_each_check_of_files(self) -> None:
        for name, (good, bad) in FILE_SAMPLES.items():
            with self.subTest(name):
                self.assertEqual(list(FILE_CHECKS[name](self.tree(good), self.rendered())), [])
            for change, words in bad:
                with self.subTest(name, change=change):
                    self.assertIn(words, "\n".join(FILE_CHECKS[name](self.tree(good | change), self.rendered())))

    def test_every_overlay_is_built_and_every_component_on_one(self) -> None:
        tree = self.tree(KUSTOMIZATIONS)
        built = {name: kustomize(tree, name, *rest) for name, *rest in overlays_to_build(tree)}
        self.assertEqual(list(built), ["local", "other", "local with free"])
        self.assertEqual([str(manifest) for manifest in built["other"].manifests], ["infra/k8s/base/map.yaml: ConfigMap a"])
        self.assertEqual([manifest.name for manifest in built["local with free"].manifests], ["my-a"])

    def test_compose_is_asked_and_nothing_of_the_user_is_in_its_answer(self) -> None:
        tree = self.tree({COMPOSE: COMPOSE_FILE, "docker-compose.more.yml": "services: {tickets: {read_only: true}}\n",
                          ".env": "TAG=mine\n"})
        with unittest.mock.patch.dict("os.environ", {"HTTP_PORT": "1", "COMPOSE_FILE": "none"}):
            service = compose(tree, (COMPOSE, "docker-compose.more.yml")).services["tickets"]
        self.assertEqual((service["image"], service["read_only"]), ("turnstile-tickets:1.2.3", True))
        self.assertEqual([(port.address, port.published) for port in ports_of(service)], [("127.0.0.1", "8080"), ("", "")])
        self.assertEqual(mounts_of(service), [Mount("volume", "data", "/data"),
                                              Mount("bind", str(tree.root / "folder"), "/folder")])
        self.assertEqual(words_of(service["command"]), ["a", "b c"])

    def test_both_ways_to_tell_ports_and_volumes_are_understood(self) -> None:
        service = {"ports": [{"target": 80, "published": "8080", "host_ip": "127.0.0.1"}, {"target": 90}],
                   "volumes": [{"type": "volume", "source": "data", "target": "/data"}]}
        self.assertEqual(ports_of(service), [Port("127.0.0.1", "8080", 80), Port("", "", 90)])
        self.assertEqual(ports_of({"ports": ["[::1]:8080:80/tcp", "8080:80"]}), [Port("[::1]", "8080", 80), Port("", "8080", 80)])
        self.assertEqual(mounts_of(service), [Mount("volume", "data", "/data")])

    def test_what_cannot_be_rendered_is_a_problem(self) -> None:
        tree = self.tree(KUSTOMIZATIONS | {"infra/k8s/base/kustomization.yaml": "resources: [lost.yaml]\n"})
        with self.assertRaisesRegex(RenderError, "infra/k8s/overlays/local: kustomize cannot build it: .*lost.yaml"):
            kustomize(tree, "local", Path("infra/k8s/overlays/local"), [])
        with self.assertRaisesRegex(RenderError, "docker-compose.yml: is missing"):
            compose(tree, (COMPOSE,))
        with self.assertRaisesRegex(RenderError, "docker-compose.yml: compose cannot read it"):
            compose(self.tree({COMPOSE: "services: {a: {images: b}}\n"}), (COMPOSE,))

    def test_all_problems_of_rendering_are_gathered(self) -> None:
        tree = self.tree(KUSTOMIZATIONS | {"infra/k8s/overlays/other/kustomization.yaml": "resources: [lost.yaml]\n"})
        with unittest.mock.patch("rendered.read_facts", side_effect=RenderError("no facts")):
            rendered = render(tree)
        self.assertEqual(rendered.problems[0], "no facts")
        self.assertEqual(len([problem for problem in rendered.problems if "lost.yaml" in problem]), 1)
        self.assertEqual([overlay.name for overlay in rendered.overlays], ["local", "local with free", "local with taken"])
        self.assertEqual(rendered.compositions, [])
        with unittest.mock.patch("rendered.read_facts", return_value=FACTS):
            self.assertIn("infra/k8s/overlays: there is no overlay", render(self.tree({})).problems)

    def test_a_tree_without_anything_has_problems(self) -> None:
        tree = self.tree({})
        found = dict(all_problems(tree, Rendered(FACTS, [], [], ["broken"])))
        self.assertEqual(found["rendering"], ["broken"])
        self.assertIn("Dockerfile: is missing", found["Dockerfiles"])
        self.assertIn("skaffold.yaml: is missing", found["skaffold"])

    def test_the_services_are_asked_for_their_variables(self) -> None:
        self.assertEqual(read_keys(self.tree({"build/release/tickets": SHELL + "echo PORT\n"})), {"tickets": ["PORT"]})
        for program in (SHELL, SHELL + "echo usage: tickets\n", SHELL + "echo PORT; exit 78\n"):
            with self.assertRaisesRegex(RenderError, "does not print the names"):
                read_keys(self.tree({"build/release/tickets": program}))
        with self.assertRaisesRegex(RenderError, "build/release/tickets: No such file"):
            read_keys(self.tree({}))

    def test_the_local_runner_is_asked_for_the_broker_and_the_paths(self) -> None:
        facts = read_facts(Tree(ROOT))
        self.assertEqual(parse_arguments(facts.broker)["-cid"], "ticketing")
        self.assertEqual(facts.jetstream["ping_max"], "2")
        self.assertEqual(facts.prefixes["tickets"], ("/api/tickets",))
        self.assertRegex(facts.version, r"^\d+\.\d+\.\d+$")

    def test_options_are_told_from_their_values(self) -> None:
        self.assertEqual(parse_arguments(["program", "-a", "1", "--b=2", "-c", "-d=", "3"]),
                         {"-a": "1", "-b": "2", "-c": "", "-d": "3"})
        self.assertEqual(dig({"a": [{"b": 1}]}, "a", 0, "b"), 1)
        self.assertEqual(dig({"a": None}, "a", "b", default=2), 2)

    def test_skaffold_may_build_by_a_command(self) -> None:
        self.assertIn("custom:", CUSTOM)
        good = FILE_SAMPLES["skaffold"][0] | {"skaffold.yaml": CUSTOM}
        self.assertEqual(list(FILE_CHECKS["skaffold"](self.tree(good), self.rendered())), [])

    def test_instructions_have_the_line_on_which_they_begin(self) -> None:
        self.assertEqual(list(instructions("FROM a\n\n# b\nrun c \\\n  # d\n  e\nUSER 1\n")),
                         [(1, "FROM", "a"), (4, "RUN", "c e"), (7, "USER", "1")])


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=0, stream=sys.stderr).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(SelfTest))
    sys.exit(0 if result.wasSuccessful() else 1)
