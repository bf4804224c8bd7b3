# SPDX-License-Identifier: Apache-2.0
# For scripts that install Debian packages: sourced, not run. Nothing that is installed starts, now or with the machine. The
# caller has a function `say`, and APT_LOG, the file that takes what apt-get says.
# shellcheck shell=bash

readonly POLICY=/usr/sbin/policy-rc.d

as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo "$@"
    fi
}

has_package() { dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^.i'; }

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 "$@" \
        </dev/null >>"$APT_LOG" 2>&1
}

# Debian starts and enables a service when its package is installed; policy-rc.d is how one says no to the start.
made_policy=
remove_policy() {
    [[ -z $made_policy ]] || as_root rm -f "$POLICY"
    made_policy=
}
forbid_service_starts() {
    [[ ! -e $POLICY ]] || return 0
    trap remove_policy EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
}

# Only for what the caller has brought: it must not come up with the machine, next to somebody's own server. A service by its
# name, or another unit of systemd.
disable_service() {
    local unit=$1 name=${1%.service}
    [[ $unit == *.* ]] || unit+=.service
    if [[ -d /run/systemd/system ]]; then
        as_root systemctl disable --quiet --now "$unit" || say "could not disable Debian's $unit"
    fi
    [[ ! -e /etc/init.d/$name ]] || as_root update-rc.d "$name" disable >/dev/null 2>&1 ||
        say "could not disable Debian's /etc/init.d/$name"
    as_root rm -f "/etc/systemd/system/multi-user.target.wants/$unit" "/etc/systemd/system/sockets.target.wants/$unit"
}
