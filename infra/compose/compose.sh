#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Calls Compose with the files that STANDINS and BUS choose: compose.sh logs --follow tickets. `make compose-up` and
# `make compose-down` are `compose.sh up` and `compose.sh down` without further arguments, which are more than Compose's own.
#   STANDINS=debian  stand-ins from Debian's packages, where no registry can be reached
#   BUS=jetstream    a JetStream cluster in place of NATS Streaming
#   SCALE=1          up: instances of each service
#   REGISTRY=        up: take the images from there, of the version TAG, in place of building them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly READY_SECONDS_MAX=60
readonly TOUR=infra/local/tour.sh
readonly TOUR_ADDRESS=http://localhost:8080
# Mounted into containers whose users are not the one whose files these are.
readonly MOUNTED=(infra/nginx infra/mongo infra/compose)

say() { printf 'compose: %s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

find_compose() {
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif command -v docker-compose >/dev/null; then
        compose=(docker-compose)
    else
        fail "neither docker compose nor docker-compose is installed"
    fi
}

choose_files() {
    local names=(docker-compose) name
    case ${STANDINS:-} in
        '') ;;
        debian) names+=(docker-compose.debian) ;;
        *) fail "STANDINS is debian or nothing, not '$STANDINS'" ;;
    esac
    case ${BUS:-stan} in
        stan) ;;
        jetstream)
            names+=(docker-compose.jetstream)
            [[ ${STANDINS:-} != debian ]] || names+=(docker-compose.jetstream.debian)
            ;;
        *) fail "BUS is stan or jetstream, not '$BUS'" ;;
    esac
    for name in "${names[@]}"; do
        compose+=(--file "$name.yml")
    done
}

check_mounted() {
    local unreadable
    unreadable=$(find "${MOUNTED[@]}" \( -type d ! -perm -005 -o -type f ! -perm -004 \) | sed -n 1p)
    [[ -z $unreadable ]] ||
        fail "$unreadable is for its owner only, but containers have to read it: chmod -R go+rX ${MOUNTED[*]}"
}

up() {
    local options=(--build) service services address deadline
    local again="${STANDINS:+STANDINS=$STANDINS }${BUS:+BUS=$BUS }$0"
    check_mounted
    [[ -z ${REGISTRY:-} ]] || options=(--no-build)
    if [[ ${SCALE:-} ]]; then
        read -ra services < <(sed -n 's/^SERVICES := //p' Makefile)
        for service in "${services[@]}"; do
            options+=(--scale "$service=$SCALE")
        done
    fi
    # Compose returns when nginx is started, which is when the services are healthy.
    "${compose[@]}" up --detach --remove-orphans "${options[@]}" ||
        fail "not everything came up: '$again ps' and '$again logs' say more"
    address=$("${compose[@]}" port nginx 8080)
    address=http://localhost:${address##*:}
    deadline=$((SECONDS + READY_SECONDS_MAX))
    until curl --silent --fail --output /dev/null --max-time 2 "$address/api/tickets?limit=1"; do
        ((SECONDS < deadline)) || fail "$address does not answer: '$again ps' and '$again logs' say more"
        sleep 0.2
    done
    printf '\nTurnstile is up at %s. To look around, paste this into a terminal:\n\n' "$address"
    # Without the first lines, which are about the file.
    sed -e 1,3d -e "s#$TOUR_ADDRESS#$address#" -e 's/^./    &/' "$TOUR"
    printf '\nEvents:      %s run --rm eventctl listen ticket:created\n' "$again"
    printf 'Logs:        %s logs --follow\n' "$again"
    printf 'To stop it:  make compose-down, which keeps the data; %s down --volumes does not\n' "$again"
}

main() {
    find_compose
    choose_files
    # Compose knows the images by one name; the registry is a part of it.
    [[ -z ${REGISTRY:-} ]] || export IMAGE_PREFIX=${REGISTRY%/}/
    case $* in
        up) up ;;
        down) "${compose[@]}" down --remove-orphans ;;
        *) exec "${compose[@]}" "$@" ;;
    esac
}

main "$@"
