# SPDX-License-Identifier: Apache-2.0
"""Compose files and small trees as they should be, and what is changed in them to show that each check of compositions.py
and deployment.py refuses what is wrong."""

from checks import SPDX
from manifest_samples import FACTS, Changes
from rendered import COMPOSE

HASH = f"# {SPDX}\n"
SHELL = f"#!/bin/sh\n{HASH}"

SAMPLE_KEYS = FACTS.keys["tickets"]

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
        ("turnstile-tickets:1.2.3", "turnstile-orders:1.2.3",
         "runs the image turnstile-orders:1.2.3, not turnstile-tickets"),
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
        ("    read_only: true\n", "    read_only: true\n    network_mode: host\n",
         "shares the machine's own (network_mode: host)"),
        ('"nats-data:/data:rw"', '"/var/run/docker.sock:/data"', "nats can command the Docker engine"),
    ],
    "life": [
        ("    restart: unless-stopped\n", "", "tickets is not started again when it dies"),
        ("stop_grace_period: 15s", "stop_grace_period: 10s", "tickets is killed before it can have ended"),
        ("    stop_grace_period: 1m0s\n", "", "nats is killed before it can have ended"),
        ("    healthcheck: {test: [CMD, wget]}\n", "", "nats has no healthcheck"),
        ("    healthcheck: {test: [CMD, wget]}\n", "    healthcheck: {disable: true}\n", "nats has no healthcheck"),
        ("condition: service_healthy", "condition: service_started", "tickets does not wait until nats is healthy"),
        ("depends_on: {nats: {condition: service_healthy}}", "depends_on: [nats]",
         "tickets does not wait until nats is healthy"),
    ],
    "keys": [
        ("      LOG_LEVEL:\n", "", "tickets LOG_LEVEL, which tickets reads, is not set"),
        ("      LOG_LEVEL:\n", "      LOG_LEVEL:\n      LOG_LEVELS: info\n",
         "tickets LOG_LEVELS is set, which tickets does not know"),
        ('STORE_URI: ""', "STORE_URI: mongodb://mongo", "STORE_URI and STORE_URI_FILE are both set"),
        ('/run/secrets/tickets_store_uri\n      STORE_URI: ""', '""', "STORE_URI, which tickets reads, is not set"),
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
    "Dockerfiles": ({"Dockerfile": DOCKERFILE,
                     "infra/debian/nats/Dockerfile": HASH + "FROM a:1\nUSER 1000\nCMD [\"a\"]\n"}, [
        ({"Dockerfile": DOCKERFILE.replace("debian:bookworm-slim", "debian:latest")},
         "Dockerfile:2: image debian:latest"),
        ({"Dockerfile": DOCKERFILE.replace("debian:bookworm-slim", "debian")}, "image debian has no tag"),
        ({"Dockerfile": DOCKERFILE.replace("USER 65532:65532\n", "")}, "Dockerfile:12: ends as user root"),
        ({"Dockerfile": DOCKERFILE.replace("USER 65532:65532", "USER nobody")}, "ends as user nobody"),
        ({"Dockerfile": DOCKERFILE.replace("USER 65532:65532", "USER 0")}, "ends as user 0"),
        ({"Dockerfile": DOCKERFILE + "FROM scratch\n"}, "ends as user root"),
        ({"Dockerfile": DOCKERFILE.replace('["/program"]', "/program")}, "Dockerfile:9: ENTRYPOINT runs a shell"),
        ({"Dockerfile": DOCKERFILE.replace('ENTRYPOINT ["/program"]\n', "")}, "says nowhere what it runs"),
        ({"Dockerfile": DOCKERFILE.replace(' CMD ["/program", "--healthcheck"]', " NONE")},
         "does not ask the service how it is"),
        ({"Dockerfile": DOCKERFILE.replace(" --no-install-recommends", "")},
         "Dockerfile:3: apt-get install brings recommended"),
        ({"Dockerfile": DOCKERFILE.replace("RUN apt", "RUN --mount=type=cache,target=/a apt")},
         "Dockerfile:3: RUN has options"),
        ({"Dockerfile": DOCKERFILE.replace("COPY --from=build /image/ /", "ADD a.tar /")}, "Dockerfile:10: ADD"),
        ({"Dockerfile": "# syntax=docker/dockerfile:1\n" + DOCKERFILE}, "asks for a builder of its own"),
        ({"Dockerfile": DOCKERFILE.replace("1.2.3", "1.2.4")}, "VERSION is 1.2.4, and 1.2.3 in the Makefile"),
        ({"infra/debian/nats/Dockerfile": HASH + "FROM a:1\nCMD [\"a\"]\n"},
         "infra/debian/nats/Dockerfile:3: ends as user root"),
    ]),
    "skaffold": ({"skaffold.yaml": SKAFFOLD, "infra/k8s/overlays/local/kustomization.yaml": "",
                  "infra/k8s/overlays/debian/kustomization.yaml": ""}, [
        ({"skaffold.yaml": SKAFFOLD.replace("v4beta11", "v2")}, "has apiVersion skaffold/v2"),
        ({"skaffold.yaml": SKAFFOLD.replace("services/tickets", "services/orders")},
         "does not build services/tickets as turnstile-tickets"),
        ({"skaffold.yaml": SKAFFOLD.replace("image: turnstile", "image: our")}, "does not build services/tickets"),
        ({"skaffold.yaml": CUSTOM.replace("PROGRAM=services/tickets", "PROGRAM=services/orders")},
         "does not build services/tickets"),
        ({"skaffold.yaml": CUSTOM.replace("PROGRAM: services/tickets", "PROGRAM: services/orders")},
         "does not build services/tickets"),
        ({"skaffold.yaml": SKAFFOLD.replace("overlays/local", "overlays/locale")},
         "infra/k8s/overlays/locale is no kustomization"),
        ({"skaffold.yaml": SKAFFOLD.replace("overlays/debian", "overlays/debias")},
         "infra/k8s/overlays/debias is no kustomization"),
    ]),
    "kept secrets": ({".gitignore": "build/\n.secrets/\n", ".dockerignore": "*\n!common\n",
                      "docker-compose.yml": "image: a@sha256:" + "0123456789abcdef" * 4 +
                                            "\npath: /spec/template/spec/initContainers/0/image\n",
                      "infra/compose/secrets.sh": "name=organization.opencontainers.image\n"}, [
        ({".gitignore": "build/\n"}, ".gitignore: does not name .secrets/"),
        ({".dockerignore": "build\n"}, ".dockerignore: lets .secrets/ get into an image"),
        ({"infra/k8s/base/a.env": "\nJWT_KEY=" + "0123456789abcdef" * 2},
         "infra/k8s/base/a.env:2: looks like a secret"),
        ({"docker-compose.yml": "key: " + "aB3+" * 11 + "="}, "docker-compose.yml:1: looks like a secret"),
        ({"infra/nginx/key.pem": "-----BEGIN EC PRIVATE KEY-----"}, "infra/nginx/key.pem:1: looks like a secret"),
    ]),
    "pages": ({"docs/CONFIGURATION.md": "".join(f"| `{key}` | |\n" for key in SAMPLE_KEYS) + "\n## make\n\n| `JWT_KEY` | |\n",
               "docs/DEPLOY.md": "jwt-secret ticketing-dev-tls mongo-secret store-uris TAG\n",
               "docker-compose.yml": "a: ${TAG:-1} $PORT $$HOME\n"}, [
        ({"docs/CONFIGURATION.md": "LOG_LEVEL" + "".join(f"| `{key}` | |\n" for key in SAMPLE_KEYS[:-1])},
         "docs/CONFIGURATION.md: LOG_LEVEL, which tickets reads, is missing"),
        ({"docs/CONFIGURATION.md": "".join(f"| `{key}` | |\n" for key in SAMPLE_KEYS if key != "JWT_KEY")
          + "\n## make\n\n| `JWT_KEY` | |\n"},
         "docs/CONFIGURATION.md: JWT_KEY, which tickets reads, is missing"),
        ({"docker-compose.debian.yml": "a: ${COLOUR}\n"}, "docker-compose.debian.yml: COLOUR is neither in"),
        ({"docs/DEPLOY.md": "jwt-secret ticketing-dev-tls mongo-secret TAG\n"},
         "docs/DEPLOY.md: the Secret store-uris is missing"),
    ]),
    "JetStream": ({"infra/compose/jetstream/server.conf": 'ping_interval: "5s"\nping_max: 2\njetstream {\n'
                                                          "  sync_interval: always\n}\n",
                   "infra/nginx/http.conf": "gzip on;\n"}, [
        ({"infra/compose/jetstream/server.conf": 'ping_interval: "50s"\nping_max: 2\njetstream {\n'
                                                 "  sync_interval: always\n}\n"},
         'infra/compose/jetstream/server.conf: JetStream is not told ping_interval: "5s"'),
        ({"infra/compose/jetstream/server.conf": "jetstream {}\n"}, "JetStream is not told sync_interval: always"),
    ]),
    "made secrets": ({"infra/compose/secrets.sh": SHELL + 'echo a >"$SECRETS_DIR/jwt_key"\n'}, [
        ({"infra/compose/secrets.sh": SHELL + 'echo a >"$SECRETS_DIR/key"\n'},
         "docker-compose.yml: the secret jwt_key is none"),
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
