# SPDX-License-Identifier: Apache-2.0
"""An overlay as it should be, in small, and what is changed in it to show that each check of manifests.py and references.py
refuses what is wrong."""

from rendered import Facts

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
    - to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
      ports: [{port: 53, protocol: UDP}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: nats}
spec: {scaleTargetRef: {kind: StatefulSet, name: nats-depl}, minReplicas: 2}
"""

# For each check: what is changed in the overlay, and the words that this must bring about. Where nothing is changed, it is
# another object that is put behind the others.
Changes = list[tuple[str, str, str]]
MANIFEST_SAMPLES: dict[str, Changes] = {
    "versions": [
        ("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n",
         "PodDisruptionBudget tickets-pdb has apiVersion policy/v1beta1"),
        ("", "---\n{apiVersion: v1, kind: ReplicationController, metadata: {name: old}}",
         "ReplicationController old is of a kind"),
    ],
    "images": [
        ("turnstile-tickets:1.2.3", "turnstile-tickets",
         "base/tickets.yaml: Deployment tickets-depl container tickets: image turnstile-tickets has no tag"),
        ("turnstile-tickets:1.2.3", "host:5000/turnstile-tickets", "has no tag"),
        ("nats-streaming:0.25.6-alpine", "nats-streaming:latest",
         "StatefulSet nats-depl container nats: image nats-streaming:latest is another one"),
        ("turnstile-tickets:1.2.3", "host/turnstile-tickets:1.2.2", "is of another version than 1.2.3"),
        ("image: mongo:7.0", "image: mongo:7.0\n          imagePullPolicy: Always",
         "fetches its image at every start"),
    ],
    "probes": [
        ("startupProbe: {httpGet: {path: /healthz, port: http}}", "", "container tickets has no startupProbe"),
        ("livenessProbe: {httpGet: {path: /healthz,", "livenessProbe: {httpGet: {path: /readyz,",
         "livenessProbe asks for /readyz, not for /healthz"),
        ("path: /readyz, port: 3000", "path: /healthz, port: 3000",
         "readinessProbe asks for /healthz, not for /readyz"),
        ("path: /readyz, port: 3000", "path: /readyz, port: 3001", "at port 3001, which no container has"),
        ("tcpSocket: {port: client}", "tcpSocket: {port: nothing}",
         "container nats: livenessProbe asks at port nothing"),
    ],
    "resources": [
        ("{requests: {cpu: 50m, memory: 32Mi}", "{requests: {memory: 32Mi}",
         "container tickets has no resources.requests.cpu"),
        ("{requests: {cpu: 50m, memory: 32Mi}", "{requests: {cpu: 50m}", "has no resources.requests.memory"),
        (", limits: {memory: 128Mi}", "", "has no resources.limits.memory"),
        ("      containers:\n        - name: mongo",
         "      initContainers: [{name: first, image: a:1}]\n      containers:\n        - name: mongo",
         "container first has no resources"),
    ],
    "security": [
        ("{runAsNonRoot: true, ", "{", "container tickets may run as root"),
        ("{runAsNonRoot: true, ", "{runAsNonRoot: true, runAsUser: 0, ", "container tickets may run as root"),
        ("{runAsNonRoot: true, ", "{runAsNonRoot: false, ", "container tickets may run as root"),
        ("            allowPrivilegeEscalation: false\n", "", "container tickets may gain privileges"),
        ("            allowPrivilegeEscalation: false\n",
         "            allowPrivilegeEscalation: false\n            privileged: true\n", "is privileged"),
        ("            capabilities: {drop: [ALL]}", "", "container tickets keeps capabilities"),
        ("            capabilities: {drop: [ALL]}", "            capabilities: {drop: [ALL], add: [CHOWN]}",
         "container tickets adds capabilities"),
        (", seccompProfile: {type: RuntimeDefault}", "", "container tickets has no seccompProfile"),
        (", seccompProfile: {type: RuntimeDefault}", ", seccompProfile: {type: Unconfined}",
         "container tickets has no seccompProfile"),
        ("            readOnlyRootFilesystem: true\n", "", "container tickets can write to its own file system"),
        ("      automountServiceAccountToken: false\n      termination", "      termination",
         "Deployment tickets-depl has a token"),
        ("      serviceAccountName: mongo\n", "", "StatefulSet mongo-depl has a token"),
        ("      serviceAccountName: mongo\n", "      serviceAccountName: mongo\n      hostNetwork: true\n",
         "shares the node's own (hostNetwork)"),
        ("persistentVolumeClaim: {claimName: mongo-data}", "hostPath: {path: /}",
         "has the volume data, of the kind hostPath"),
        ("      containers:\n        - name: mongo",
         "      initContainers: [{name: open-volume, securityContext: {runAsUser: 0}}]\n"
         "      containers:\n        - name: mongo",
         "container open-volume may gain privileges"),
    ],
    "rolling updates": [
        ("maxUnavailable: 0", "maxUnavailable: 1", "stops an instance before another one is ready"),
        ("  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}\n", "",
         "stops an instance before another one is ready"),
        ("          lifecycle: {preStop: {sleep: {seconds: 5}}}\n", "", "ends while it is still sent requests"),
        ("GracePeriodSeconds: 25", "GracePeriodSeconds: 14",
         "is killed 14 s after it was told to end, and may take 15 s"),
        ("replicas: 2\n", "replicas: 1\n", "has fewer than 2 replicas"),
        ("{kind: StatefulSet, name: nats-depl}", "{kind: Deployment, name: tickets-depl}",
         "has a number of replicas although it is scaled"),
        ("      topologySpreadConstraints:\n", "      affinity:\n", "may have all its instances on one node"),
    ],
    "keys": [
        ("            - {name: STORE_URI,", "            - {name: STORE,",
         "container tickets: STORE_URI, which tickets reads, is not set"),
        ("            - {name: STORE_URI,", "            - {name: STORE,",
         "container tickets: STORE is set, which tickets does not know"),
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
        ("", "---\n{apiVersion: v1, kind: Secret, metadata: {name: jwt-secret}, data: {}}",
         "Secret jwt-secret is in the repository"),
        ("{name: JWT_KEY, valueFrom: {secretKeyRef: {name: jwt-secret, key: JWT_KEY}}}", "{name: JWT_KEY, value: abc}",
         "container tickets: JWT_KEY has a value that everybody can read"),
        ("mongodb://mongo-srv", "mongodb://tickets:abc@mongo-srv", "STORE_URI has a value that everybody can read"),
        ('PORT: "3000"', "PORT: 3000", "PORT is no text: write 3000 in quotes"),
    ],
    "selectors": [
        ("selector: {matchLabels: {app: tickets}}\n  template", "selector: {matchLabels: {app: billets}}\n  template",
         "selects app=billets, and its pods have app=tickets, part-of=turnstile"),
        ("selector: {matchLabels: {app: nats}}\n  template", "selector: {}\n  template",
         "StatefulSet nats-depl selects nothing"),
        ("labelSelector: {matchLabels: {app: tickets}}", "labelSelector: {matchLabels: {app: mongo}}",
         "spreads other pods than its own"),
        ("{labels: {app: nats}}", "{labels: {app: tickets}}",
         "Deployment tickets-depl selects the pods of StatefulSet nats-depl too"),
        ("selector: {app: tickets}", "selector: {app: billets}", "Service tickets-srv finds no pod with app=billets"),
        ("selector: {matchLabels: {app: tickets}}}\n", "selector: {matchLabels: {app: billets}}}\n",
         "PodDisruptionBudget tickets-pdb finds no pod"),
        ("minAvailable: 1", "minAvailable: 2", "lets no pod of tickets-depl go: 2 of 2 must stay"),
        ("podSelector: {matchLabels: {app: nats}}\n", "podSelector: {matchLabels: {app: gnats}}\n",
         "NetworkPolicy nats finds no pod with app=gnats"),
        ("podSelector: {matchLabels: {part-of: turnstile}}", "podSelector: {matchLabels: {part-of: it}}",
         "NetworkPolicy nats ingress finds no pod with part-of=it"),
        ("{to: [{podSelector: {matchLabels: {app: mongo}}}]", "{to: [{podSelector: {matchLabels: {app: mango}}}]",
         "NetworkPolicy tickets egress finds no pod"),
        ("{kind: StatefulSet, name: nats-depl}", "{kind: Deployment, name: nats-depl}",
         "scales Deployment nats-depl, which is not there"),
        ("minReplicas: 2", "minReplicas: 1", "goes below 2 replicas"),
    ],
    "references": [
        ("secretKeyRef: {name: jwt-secret,", "secretKeyRef: {name: jwt-secrets,",
         "takes Secret jwt-secrets, which nobody is told to make"),
        ("key: JWT_KEY}", "key: KEY}", "takes KEY of Secret jwt-secret, which has only JWT_KEY"),
        ("configMapRef: {name: turnstile-config}", "configMapRef: {name: config}",
         "takes ConfigMap config, which is not there"),
        ("{key: nats.conf,", "{key: nats.cfg,", "takes nats.cfg of ConfigMap nats-files, which does not have it"),
        ("configMap: {name: nats-files, items: [{key: nats.conf, path: nats.conf}]}", "secret: {secretName: files}",
         "takes Secret files, which nobody"),
        ("configMap: {name: nats-files, items: [{key: nats.conf, path: nats.conf}]}",
         "projected: {sources: [{configMap: {name: missing}}]}", "takes ConfigMap missing"),
        ("{name: files, mountPath", "{name: fails, mountPath", "container nats mounts fails, which is no volume"),
        ("claimName: mongo-data", "claimName: mango-data",
         "takes PersistentVolumeClaim mango-data, which is not there"),
        ("serviceAccountName: mongo", "serviceAccountName: mango",
         "runs as ServiceAccount mango, which is not there"),
        ("serviceName: nats-srv", "serviceName: gnats-srv", "is governed by Service gnats-srv, which is not there"),
        ("secretName: ticketing-dev-tls", "secretName: tls", "Ingress ingress-service takes Secret tls"),
    ],
    "ports": [
        ("targetPort: client", "targetPort: clients",
         "Service nats-srv leads to port clients, which nats-depl does not have"),
        ("port: 8222}", "port: 8223}", "leads to port 8223"),
        ("ports: [{port: 4222}]", "ports: [{port: 4223}]", "ingress speaks of port 4223, which no such pod has"),
        ("ports: [{port: 27017}]}\n    -", "ports: [{port: 27018}]}\n    -",
         "egress speaks of port 27018, which no such pod has"),
        ("[{name: http, containerPort: 3000}]", "[{name: http, containerPort: 3001}]",
         "container tickets has no port 3000"),
    ],
    "addresses": [
        ("mongodb://mongo-srv:27017", "mongodb://mongo:27017",
         "STORE_URI leads to mongo, and there is no such Service"),
        ("mongodb://mongo-srv:27017", "mongodb://mongo-srv:27018",
         "STORE_URI leads to port 27018, which mongo-srv does not have"),
        ("stan://nats-depl-0.nats-srv:4222", "stan://nats-srv:4222,gnats-srv:4222", "BUS_URI leads to gnats-srv"),
        ('PORT: "3000"', 'PORT: "3001"', "listens on port 3001, not on 3000"),
    ],
    "routes": [
        ("path: /api/tickets,", "path: /api/billets,", "/api/tickets leads to nothing, not to tickets-srv"),
        ("path: /api/tickets, backend: {service: {name: tickets-srv",
         "path: /api/tickets, backend: {service: {name: mongo-srv",
         "/api/tickets leads to mongo-srv, not to tickets-srv"),
        ("{name: payments-srv,", "{name: payment-srv,", "leads to Service payment-srv, which is not there"),
        ("{number: 3000}}}}\n          - {path: /api,", "{number: 3001}}}}\n          - {path: /api,",
         "leads to port 3001, which Service tickets-srv does not have"),
        ("path: /api,", "path: /,", "/ shows /healthz, /readyz, /metrics of tickets-srv to everybody"),
        ("path: /api,", "path: /metrics,", "/metrics shows"),
        ("kind: Ingress\n", "kind: Egress\n", "overlay test has no Ingress"),
    ],
    "network policies": [
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", "{podSelector: {}, policyTypes: [Ingress]}",
         "StatefulSet nats-depl has no NetworkPolicy for Egress"),
        ("{podSelector: {}, policyTypes", "{podSelector: {matchLabels: {app: mongo}}, policyTypes",
         "Deployment tickets-depl has no NetworkPolicy for Ingress"),
    ],
}
