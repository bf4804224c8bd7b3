#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A Docker engine for the tests of the containers, on a machine that may have none:
#   docker-engine.sh start FOLDER   uses the engine that answers, or starts one, and sees to it that there is an image to
#                                   build on; prints the address of the engine (DOCKER_HOST) if it has started it
#   docker-engine.sh stop FOLDER    stops the engine that `start` has started, and takes away all that it has made, also of
#                                   a start that failed
# FOLDER is made, and holds whatever is this engine's: images, containers, volumes, sockets, logs. One is started where CI is
# set, or TURNSTILE_CI_COMPOSE=1. That takes root on Debian 12, whose packages are installed for it, and the rights that
# containers need: where it is not to be, `start` says why and exits with 1. An engine that runs already is left as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH=$PATH:/usr/sbin:/sbin

readonly BASE_IMAGE=debian:bookworm-slim SUITE=bookworm
readonly BRIDGE=docker0
readonly ANSWER_SECONDS_MAX=10 START_SECONDS_MAX=60 STOP_SECONDS_MAX=30 PULL_SECONDS_MAX=120 RUN_SECONDS_MAX=60
readonly DEBOOTSTRAP_SECONDS_MAX=600

say() { printf 'docker-engine: %s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

usage() {
    sed -n '3,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 64
}

answers() { timeout "$ANSWER_SECONDS_MAX" docker info >/dev/null 2>&1; }
last_words() { tail -n 5 "$1" | sed 's/^/    /' >&2; }

install() {
    say "installing $*"
    forbid_service_starts
    apt update || true
    # Rather none than one in the place of another that is installed here.
    apt install --no-install-recommends --no-remove "$@" || {
        last_words "$APT_LOG"
        fail "no engine: $* cannot be installed"
    }
    remove_policy
}

# ---- starting ----

has_unit() { [[ -e /lib/systemd/system/$1 || -e /usr/lib/systemd/system/$1 || -e /etc/systemd/system/$1 ]]; }

# What comes with it does not start with the machine. What was there before, such as somebody's containerd, stays as it is.
install_engine() {
    local unit brought=()
    for unit in docker.socket docker.service containerd.service; do
        has_unit "$unit" || brought+=("$unit")
    done
    install docker.io
    for unit in "${brought[@]}"; do
        disable_service "$unit"
    done
}

check_machine() {
    [[ ${CI:-} || ${TURNSTILE_CI_COMPOSE:-} == 1 ]] ||
        fail "no engine: none answers. TURNSTILE_CI_COMPOSE=1 installs what is missing and starts one"
    ((EUID == 0)) || fail "no engine: none answers, and only root can start one"
    grep -qsx 'VERSION_CODENAME=bookworm' /etc/os-release || fail "no engine: none answers, and this is not Debian 12"
    # Two on one network would fight about its firewall. Sockets tell of one that has another root or other processes, too.
    ! grep -qE '/(docker\.sock|libnetwork/[^/]*)$' /proc/net/unix || fail "no engine: one runs here, but does not answer"
}

# The network as it was. A bridge that is there already was left by another engine, or belongs to one: then so do the rules.
note_network() {
    ! ip link show "$BRIDGE" >/dev/null 2>&1 || return 0
    iptables -w -S FORWARD 2>"$folder/iptables.log" | sed -n 1p >"$folder/forward-policy" ||
        fail "no engine: this root may not see the firewall: $(head -n 1 "$folder/iptables.log")"
    cat /proc/sys/net/ipv4/ip_forward >"$folder/ip_forward"
}

start_engine() {
    local log=$folder/dockerd.log deadline=$((SECONDS + START_SECONDS_MAX)) engine
    echo '{}' >"$folder/daemon.json"
    # In a session of its own: Ctrl-C is for the tests, which then have something to tidy up on it.
    setsid dockerd --config-file "$folder/daemon.json" --host "$DOCKER_HOST" --data-root "$folder/data" \
        --exec-root "$folder/run" --pidfile "$folder/dockerd.pid" </dev/null >"$log" 2>&1 &
    engine=$!
    until answers; do
        if ((SECONDS >= deadline)) || ! kill -0 "$engine" 2>/dev/null; then
            last_words "$log"
            fail "no engine: dockerd cannot run here"
        fi
        sleep 0.2
    done
}

# Not the files that are there for passwords: images are no place for these, and are built upon. One that somebody has written
# into a source's or a proxy's address is copied with it: without it nothing would be found.
copy_apt_settings() {
    cp -a "$1" "$2"
    rm -rf "$2/auth.conf" "$2/auth.conf.d"
}

# A minimal Debian, which finds its packages where this machine does.
import_base() {
    local log=$folder/debootstrap.log root=$folder/base mirror
    command -v debootstrap >/dev/null || install debootstrap
    say "making $BASE_IMAGE by debootstrap, since it cannot be pulled"
    # shellcheck disable=SC2016  # apt-get fills it in
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Release: $SUITE" | sed -n 1p)
    timeout "$DEBOOTSTRAP_SECONDS_MAX" debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$root" \
        ${mirror:+"$mirror"} >"$log" 2>&1 || {
        last_words "$log"
        fail "no image $BASE_IMAGE: it can neither be pulled nor made by debootstrap"
    }
    rm -rf "$root/etc/apt" "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    copy_apt_settings /etc/apt "$root/etc/apt"
    tar -C "$root" -c . | docker import - "$BASE_IMAGE" >/dev/null || fail "no engine: it cannot make images here"
    rm -rf "$root"
}

has_base() { docker image inspect "$BASE_IMAGE" >/dev/null 2>&1; }
pull_base() { timeout "$PULL_SECONDS_MAX" docker pull "$BASE_IMAGE" >"$folder/pull.log" 2>&1; }

try_container() {
    timeout "$RUN_SECONDS_MAX" docker run --rm "$BASE_IMAGE" true >"$folder/run.log" 2>&1 ||
        fail "no engine: it cannot run containers here: $(head -n 1 "$folder/run.log")"
}

start() {
    # For nobody else's eyes: whoever reaches its socket is root.
    (umask 077 && mkdir -p "$folder")
    if command -v docker >/dev/null && answers; then
        # Its images are somebody's: nothing is put there under a name of Debian's.
        has_base || pull_base || fail "the engine that answers has no $BASE_IMAGE: $(tail -n 1 "$folder/pull.log")"
        try_container
        say "using the engine that answers"
        return
    fi
    check_machine
    export DOCKER_HOST=unix://$folder/docker.sock
    command -v dockerd >/dev/null || install_engine
    command -v iptables >/dev/null || install iptables
    command -v ip >/dev/null || install iproute2
    note_network
    start_engine
    pull_base || import_base
    try_container
    say "started one in $folder"
    echo "$DOCKER_HOST"
}

# ---- stopping ----

# This engine, and no other process that has been given its number since.
is_running() {
    local pid
    [[ -s $folder/dockerd.pid ]] && pid=$(<"$folder/dockerd.pid") && [[ $pid =~ ^[0-9]+$ ]] &&
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF -- "$folder/dockerd.pid" >/dev/null
}

remove_containers() {
    local containers
    export DOCKER_HOST=unix://$folder/docker.sock
    answers || return 0
    mapfile -t containers < <(docker ps --all --quiet)
    ((${#containers[@]} == 0)) || docker rm --force --volumes "${containers[@]}" >/dev/null || true
    docker network prune --force >/dev/null || true
}

rules_of_docker() { iptables -w -t "$1" -S | grep -E "DOCKER|$BRIDGE"; }

# dockerd leaves its bridge behind, and what it has told the firewall.
restore_network() {
    [[ -s $folder/forward-policy ]] || return 0
    local table words policy
    for table in filter nat; do
        # A chain can go when no rule leads to it any more.
        while read -ra words; do
            [[ ${words[0]} != -A ]] || iptables -w -t "$table" -D "${words[@]:1}" || true
        done < <(rules_of_docker "$table")
        while read -ra words; do
            iptables -w -t "$table" -X "${words[1]}" || true
        done < <(rules_of_docker "$table")
    done
    read -ra policy <"$folder/forward-policy"
    iptables -w "${policy[@]}" || true
    cat "$folder/ip_forward" >/proc/sys/net/ipv4/ip_forward || true
    ip link delete "$BRIDGE" || true
}

stop() {
    local deadline=$((SECONDS + STOP_SECONDS_MAX)) mounted pid
    [[ -d $folder ]] || return 0
    if is_running; then
        # It may end at any moment, and takes the file with it.
        pid=$(cat "$folder/dockerd.pid" 2>/dev/null) || true
        remove_containers
        ! is_running || kill "$pid" || true
        while is_running && ((SECONDS < deadline)); do
            sleep 0.2
        done
        ! is_running || kill -KILL "$pid" || true
    fi
    restore_network
    while read -r mounted; do
        umount --lazy "$mounted" || true
    done < <(awk -v folder="$folder/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r)
    rm -rf --one-file-system "$folder"
}

# shellcheck source=infra/local/packages.sh
source infra/local/packages.sh
# A test that sources this wants the functions.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    (($# == 2)) || usage
    folder=$(realpath -m "$2")
    readonly folder APT_LOG=$folder/apt.log
    case $1 in
        start) start ;;
        stop) stop ;;
        *) usage ;;
    esac
fi
