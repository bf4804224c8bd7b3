#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs an operation of a service in the cluster, as a pod of its own with the image, the settings and the secrets of the
# service's Deployment, shows what it says, and ends with its exit status. The Deployment may be scaled to 0. An answer
# of Kubernetes that fails to come does not end the operation; INT and TERM do.
set -euo pipefail
shopt -s inherit_errexit

readonly START_SECONDS_MAX=300
readonly SILENCE_SECONDS_MAX=300 # of Kubernetes
readonly LOG_TRIES_MAX=10
readonly PAUSE_SECONDS=0.5
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

# Phase and exit status of the pod in one answer, or nothing if there is none.
ask() {
    cluster get pod "$pod" \
        --output 'jsonpath={.status.phase} {.status.containerStatuses[*].state.terminated.exitCode}' || true
}

# Shows what the pod says, without the lines that have been shown already, until it ends or the connection does.
lines_shown=0
follower=
follow() {
    local line number=0 log result=0
    exec {log}< <(exec kubectl "${target[@]}" logs --follow "$pod")
    follower=$!
    while IFS= read -r line <&"$log"; do
        ((++number <= lines_shown)) || { printf '%s\n' "$line" && lines_shown=$number; }
    done
    exec {log}<&-
    wait "$follower" || result=$?
    follower=
    return "$result"
}

# What may be in the middle of its work is never deleted but by who stops it.
deletable=yes
# shellcheck disable=SC2317 # a trap calls it
leave() {
    [[ -z $follower ]] || kill "$follower" 2>/dev/null || true
    if [[ $deletable ]]; then
        cluster delete pod "$pod" --ignore-not-found --wait=false >/dev/null || true
    else
        printf '%s is left alone: see kubectl logs --follow %s, and delete it when it has ended\n' "$pod" "$pod" >&2
    fi
}

# shellcheck disable=SC2317 # a trap calls it
stop() {
    deletable=yes
    printf '%s is stopped, and deleted: the operation may be half done\n' "$pod" >&2
    exit "$1"
}

described=$(manifest "$@")
trap leave EXIT
trap 'stop 130' INT
trap 'stop 143' TERM
cluster create --filename - <<<"$described" >/dev/null
deletable=

created=$SECONDS
answered=$SECONDS
while true; do
    read -r phase status <<<"$(ask)"
    [[ -z $phase ]] || answered=$SECONDS
    case $phase in
    Succeeded | Failed) break ;;
    Running)
        follow || true
        answered=$SECONDS
        ;;
    Pending)
        ((SECONDS - created < START_SECONDS_MAX)) || {
            printf '%s has not started within %d s, and is deleted:\n' "$pod" "$START_SECONDS_MAX" >&2
            cluster describe pod "$pod" | tail -n 20 >&2 || true
            deletable=yes
            exit 1
        }
        ;;
    esac
    ((SECONDS - answered < SILENCE_SECONDS_MAX)) || {
        printf 'Kubernetes has told nothing about %s for %d s\n' "$pod" "$SILENCE_SECONDS_MAX" >&2
        exit 1
    }
    sleep "$PAUSE_SECONDS"
done

# The rest of it, and all of it where the pod was too quick to be seen running.
tries=1
until follow; do
    ((tries++ < LOG_TRIES_MAX)) || {
        printf '%s has ended with status %s, and what it said cannot be read\n' "$pod" "${status:-unknown}" >&2
        exit "${status:-1}"
    }
    sleep "$PAUSE_SECONDS"
done
deletable=yes
exit "${status:-1}"
