#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs an operation of a service in the cluster, as a pod of its own with the image, the settings and the secrets of the
# service's Deployment, shows what it says, and ends with its exit status. The Deployment may be scaled to 0.
set -euo pipefail
shopt -s inherit_errexit

readonly START_SECONDS_MAX=300
# Those that network-policies.yaml goes by; not `app`, by which the Service would send requests to the pod.
readonly LABELS=(app.kubernetes.io/part-of mongo-client nats-client)

usage() {
    cat <<'END_OF_USAGE'
Usage: infra/k8s/operate.sh [--namespace NAME] [--context NAME] SERVICE OPERATION…

    infra/k8s/operate.sh tickets --restored
    infra/k8s/operate.sh tickets --republish --since 2h
END_OF_USAGE
}

target=()
while (($#)); do
    case $1 in
    --namespace | --context)
        (($# > 1)) || { usage >&2 && exit 64; }
        target+=("$1" "$2")
        shift 2
        ;;
    -h | --help) usage && exit 0 ;;
    -*) usage >&2 && exit 64 ;;
    *) break ;;
    esac
done
(($# > 1)) || { usage >&2 && exit 64; }
readonly service=$1
shift
pod=$service-operation-$(od -An -tx4 -N 4 /dev/urandom | tr -d ' ')
readonly pod

cluster() { kubectl "${target[@]}" "$@"; }

# "word","word"
quoted() {
    local word result=
    for word; do
        word=${word//\\/\\\\}
        result+=",\"${word//\"/\\\"}\""
    done
    printf '%s' "${result#,}"
}

# The Deployment's pod, which runs once, without what belongs to one that serves: there is nothing to probe, and nobody
# whose requests it has to finish.
manifest() {
    local spec label value labels=()
    spec=$(cluster get deployment "$service-depl" --output 'jsonpath={.spec.template.spec}')
    for label in "${LABELS[@]}"; do
        value=$(cluster get deployment "$service-depl" --output "jsonpath={.spec.template.metadata.labels.${label//./\\.}}")
        [[ -z $value ]] || labels+=("\"$label\":\"$value\"")
    done
    printf '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s","labels":{%s}},"spec":%s}\n' \
        "$pod" "$(IFS=, && printf '%s' "${labels[*]}")" "$spec" |
        cluster patch --local --filename - --output json --patch "{\"spec\":{\"restartPolicy\":\"Never\",\"containers\":[{
            \"name\":\"$service\",\"args\":[$(quoted "$@")],
            \"startupProbe\":null,\"livenessProbe\":null,\"readinessProbe\":null,\"lifecycle\":null}]}}"
}

phase() { cluster get pod "$pod" --output 'jsonpath={.status.phase}'; }

described=$(manifest "$@")
cluster create --filename - <<<"$described" >/dev/null
trap 'cluster delete pod "$pod" --wait=false >/dev/null' EXIT

deadline=$((SECONDS + START_SECONDS_MAX))
while [[ $(phase) == Pending ]]; do
    ((SECONDS < deadline)) || {
        printf '%s has not started within %d s:\n' "$pod" "$START_SECONDS_MAX" >&2
        cluster describe pod "$pod" | tail -n 20 >&2
        exit 1
    }
    sleep 0.2
done
cluster logs --follow "$pod"
while [[ $(phase) == Running ]]; do
    sleep 0.2
done
status=$(cluster get pod "$pod" --output 'jsonpath={.status.containerStatuses[0].state.terminated.exitCode}')
exit "${status:-1}"
