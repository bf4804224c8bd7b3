#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Calls Compose with the files that STANDINS and BUS choose: compose.sh logs --follow tickets. `make compose-up` and
# `make compose-down` are `compose.sh up` and `compose.sh down` without further arguments, which are more than Compose's own:
# `up` also starts the services anew when the keys have changed in .secrets (SECRETS_DIR).
#   STANDINS=debian  stand-ins from Debian's packages, where no registry can be reached
#   BUS=jetstream    a JetStream cluster in place of NATS Streaming
#   SCALE=1          up: instances of each service, 1 to 16
#   REGISTRY=        up: take the images from there, of the version TAG, in place of building them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly READY_SECONDS_MAX=60 BUS_SECONDS_MAX=60
readonly SCALE_MAX=16
readonly BUILD_LINES=30 LOG_LINES=5 # of those that tell why something failed
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

check_scale() {
    [[ ${SCALE:-1} =~ ^[0-9]{1,9}$ ]] && ((10#${SCALE:-1} >= 1 && 10#${SCALE:-1} <= SCALE_MAX)) && return
    fail "SCALE is a number from 1 to $SCALE_MAX, not '$SCALE'"
}

# What is not ours, and not there yet: before anything is built, which takes longer.
pull_missing() {
    local configuration image images
    configuration=$("${compose[@]}" config)
    mapfile -t images < <(sed -n 's/^    image: //p' <<<"$configuration" | sed '/turnstile-/d' | sort --unique)
    for image in "${images[@]}"; do
        docker image inspect "$image" >/dev/null 2>&1 || docker pull "$image" ||
            fail "cannot pull $image. Where no registry can be reached: STANDINS=debian ${BUS:+BUS=$BUS }make compose-up"
    done
}

build() {
    local log
    log=$(mktemp --tmpdir turnstile-build.XXXXXX)
    say "building the images, which takes minutes the first time: tail -f $log"
    if ! "${compose[@]}" build "$@" >"$log" 2>&1; then
        tail -n "$BUILD_LINES" "$log" >&2
        fail "the images cannot be built; all that was said is in $log"
    fi
    rm -f "$log"
}

# Ends this with the reason $1, after what there is to tell of the containers that are in trouble. How to call this is $2.
give_up() {
    local again=$2 name status health restarts error trouble taken=''
    local format='{{if ne (index .Config.Labels "com.docker.compose.oneoff") "True"}}{{slice .Name 1}} {{.State.Status}} '
    format+='{{with .State.Health}}{{.Status}}{{else}}-{{end}} {{.RestartCount}} {{printf "%q" .State.Error}}{{end}}'
    while read -r name status health restarts error; do
        trouble=''
        case $status:$health in
            restarting:* | dead:*) trouble="is $status" ;;
            exited:*) trouble='has ended' ;;
            *:unhealthy) trouble='is unhealthy' ;;
            # It ends before it can answer.
            running:starting) ((restarts == 0)) || trouble='starts again and again' ;;
        esac
        if [[ $trouble ]]; then
            say "$name $trouble. The end of its log:"
            docker logs --tail "$LOG_LINES" "$name" 2>&1 | sed 's/^/    /' >&2
        fi
        [[ ! $error =~ 'port is already allocated'|'address already in use'|'orts are not available' ]] || taken=yes
    done < <("${compose[@]}" ps --all --quiet | xargs --no-run-if-empty docker inspect --format "$format" | sed '/^$/d')
    [[ -z $taken ]] || say "a port is in use: HTTP_PORT=, NATS_PORT= and NATS_MONITOR_PORT= move the ports"
    fail "$1: '$again ps' and '$again logs' say more"
}

# Whether a container runs that is older than the keys. It has the files of its start, and Compose compares their names only.
has_old_keys() {
    local folder=${SECRETS_DIR:-.secrets} changed started
    [[ -f $folder/jwt_key && -f $folder/jwt_key_previous ]] || fail "there are not all secrets in $folder: make secrets"
    changed=$(LC_ALL=C stat --format %.9Z "$folder/jwt_key" "$folder/jwt_key_previous" | sort --numeric-sort | tail -n 1)
    while read -r started; do
        (($(date --date "$started" +%s%N) >= ${changed/./})) || return 0
    done < <("${compose[@]}" ps --quiet "${services[@]}" |
        xargs --no-run-if-empty docker inspect --format '{{if .State.Running}}{{.State.StartedAt}}{{end}}' | sed '/^$/d')
    return 1
}

# Starts these anew, as many of each as are to be.
recreate() {
    local options=() service
    if [[ ${SCALE:-} ]]; then
        for service in "$@"; do
            options+=(--scale "$service=$SCALE")
        done
    fi
    "${compose[@]}" up --detach --no-build --no-deps --force-recreate "${options[@]}" "$@"
}

# Whether these have found the event bus, since they were started.
have_bus() {
    local container started
    for container in $("${compose[@]}" ps --quiet "$@"); do
        started=$(docker inspect --format '{{.State.StartedAt}}' "$container")
        docker logs --since "$started" "$container" 2>&1 | grep 'connected to NATS' >/dev/null || return 1
    done
}

# A service is ready without the bus, and a cluster of JetStream may take some seconds to have a leader.
wait_for_bus() {
    local deadline=$((SECONDS + BUS_SECONDS_MAX))
    # Others do not tell.
    [[ ${LOG_LEVEL:-info} == @(info|debug) ]] || return 0
    until have_bus "$@"; do
        if ((SECONDS >= deadline)); then
            say "not every one of $* has found the event bus: their logs say why. What happens meanwhile waits"
            return
        fi
        sleep 0.2
    done
}

up() {
    local options=(--no-build) service services others=() address deadline
    local again="${STANDINS:+STANDINS=$STANDINS }${BUS:+BUS=$BUS }$0"
    check_scale
    check_mounted
    read -ra services < <(sed -n 's/^SERVICES := //p' Makefile)
    pull_missing
    if [[ ${REGISTRY:-} ]]; then
        # `up --no-build` pulls nothing that could be built.
        "${compose[@]}" pull "${services[@]}" ||
            fail "cannot pull the services' images from $REGISTRY, of the version TAG; without REGISTRY= they are built here"
        [[ ${STANDINS:-} != debian ]] || build mongo nats nginx
    else
        build
    fi
    for service in "${services[@]}"; do
        [[ -z ${SCALE:-} ]] || options+=(--scale "$service=$SCALE")
        [[ $service == auth ]] || others+=("$service")
    done
    if has_old_keys; then
        say "the keys have changed: the services start anew, auth last, since its new tokens have to be understood by all"
        recreate "${others[@]}" || give_up "not everything came up" "$again"
        recreate auth || give_up "not everything came up" "$again"
    fi
    # Compose returns when nginx is started, which is when the services are healthy.
    "${compose[@]}" up --detach --remove-orphans "${options[@]}" ||
        give_up "not everything came up" "$again"
    address=$("${compose[@]}" port nginx 8080)
    address=http://localhost:${address##*:}
    deadline=$((SECONDS + READY_SECONDS_MAX))
    until curl --silent --fail --output /dev/null --max-time 2 "$address/api/tickets?limit=1"; do
        ((SECONDS < deadline)) || give_up "$address does not answer" "$again"
        sleep 0.2
    done
    wait_for_bus "${others[@]}"
    printf '\nTurnstile is up at %s. To look around, paste this into a terminal:\n\n' "$address"
    # Without the first lines, which are about the file.
    sed -e 1,3d -e "s#$TOUR_ADDRESS#$address#" -e 's/^./    &/' "$TOUR"
    printf '\nEvents:      %s run --rm eventctl listen ticket:created\n' "$again"
    printf 'Logs:        %s logs --follow\n' "$again"
    printf 'To stop it:  make compose-down, which keeps the data; %s down --volumes does not\n' "$again"
}

main() {
    local builder
    find_compose
    choose_files
    # What is built has to get into the engine, wherever `docker buildx use` points: the engine's own builder is called as
    # its context is.
    builder=$(docker context inspect --format '{{.Name}}' 2>/dev/null) || builder=
    export BUILDX_BUILDER=${BUILDX_BUILDER:-$builder}
    # Compose knows the images by one name; the registry is a part of it.
    [[ -z ${REGISTRY:-} ]] || export IMAGE_PREFIX=${REGISTRY%/}/
    case $* in
        up) up ;;
        down) "${compose[@]}" down --remove-orphans ;;
        *) exec "${compose[@]}" "$@" ;;
    esac
}

main "$@"
