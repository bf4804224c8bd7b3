#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Says how to reach what has just been deployed: skaffold runs it when everything is ready. It waits for the services to find
# the event bus, and for the ingress to answer, but fails for no reason: the services run, whatever becomes of these.
set -euo pipefail

readonly ADDRESS_SECONDS_MAX=20
readonly ANSWER_SECONDS_MAX=20
readonly BUS_SECONDS_MAX=60
readonly INGRESS=ingress-service

# skaffold names the namespaces of what it deployed, with commas; an empty one is the context's own.
namespace=${SKAFFOLD_NAMESPACES:-}
namespace=${namespace##*,}
options=()
[[ -z ${SKAFFOLD_KUBE_CONTEXT:-} ]] || options+=(--context "$SKAFFOLD_KUBE_CONTEXT")
[[ -z $namespace ]] || options+=(--namespace "$namespace")

ask() { kubectl "${options[@]}" get "$@" 2>/dev/null || true; }

# What a command prints, as soon as it prints anything; nothing when there was no time left.
wait_for() {
    local deadline=$((SECONDS + $1)) said
    shift
    while said=$("$@") && [[ -z $said ]] && ((SECONDS < deadline)); do
        sleep 0.5
    done
    printf '%s' "$said"
}

ingress_address() {
    ask ingress "$INGRESS" -o 'jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}'
}

answers() {
    curl -sS -o /dev/null -w '%{http_code}\n' --max-time 3 -H "Host: $host" "http://$address/api/tickets" 2>/dev/null |
        grep -x 200 || true
}

# A pod is ready without the bus, and a cluster of JetStream may take some seconds to have a leader.
have_bus() {
    local pods pod
    pods=$(ask pods --selector nats-client=true --field-selector status.phase=Running -o name)
    for pod in $pods; do
        kubectl "${options[@]}" logs "$pod" 2>/dev/null | grep 'connected to NATS' >/dev/null || return 0
    done
    echo yes
}

if [[ -z $(wait_for "$BUS_SECONDS_MAX" have_bus) ]]; then
    echo "Not every pod has found the event bus yet: their logs say why. Events wait until then."
fi

host=$(ask ingress "$INGRESS" -o 'jsonpath={.spec.rules[0].host}')
if [[ -z $host ]]; then
    echo "There is no Ingress of the name $INGRESS: the services can be reached by kubectl port-forward only."
    exit 0
fi
address=$(wait_for "$ADDRESS_SECONDS_MAX" ingress_address)
if [[ -z $address ]]; then
    cat <<END
Everything runs, but no ingress controller has taken the Ingress $INGRESS (class nginx). With minikube:
    minikube addons enable ingress
with kind: https://kind.sigs.k8s.io/docs/user/ingress, elsewhere: https://kubernetes.github.io/ingress-nginx/deploy
END
    exit 0
fi
# What kind says, whose ingress listens on this machine.
[[ $address != localhost ]] || address=127.0.0.1
if [[ -n $(wait_for "$ANSWER_SECONDS_MAX" answers) ]]; then
    echo "Turnstile answers:"
else
    cat <<END
Everything runs, but http://$address does not answer for $host from here. Where the cluster is a machine of its own, its
ingress needs a way out, like \`minikube tunnel\` or published ports. Then:
END
fi

quoted_namespace=${namespace:+ -n $namespace}
bus=stan://localhost:4222/ticketing
page='streaming/channelsz?subs=1'
if [[ $(ask service nats-srv -o 'jsonpath={.spec.selector.bus}') == jetstream ]]; then
    bus=nats://localhost:4222
    page='jsz?consumers=1'
fi
cat <<END
    curl -H 'Host: $host' http://$address/api/tickets
    curl -k --connect-to $host:443:$address:443 https://$host/api/tickets
END
[[ $address == *[!0-9.]* ]] || cat <<END
With a line in /etc/hosts, http://$host and https://$host will do, in browsers too (whom the certificate does not satisfy):
    echo '$address $host' | sudo tee -a /etc/hosts
END
cat <<END
The events, when the first of these runs in another terminal:
    kubectl$quoted_namespace port-forward svc/nats-srv 4222 8222
    BUS_URI=$bus build/release/eventctl listen ticket:created
    curl 'http://localhost:8222/$page'
END
