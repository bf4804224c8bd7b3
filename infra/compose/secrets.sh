#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the secrets that docker-compose.yml names, as files in .secrets or in SECRETS_DIR: secrets.sh [SERVICE…], by
# default for all services of the Makefile. What is there is kept; only JWT_KEY in the environment replaces a key, which is
# then kept as jwt_key_previous. Where there is no previous key, that is the same as the key: removed, it is made so again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly SECRET_BYTES=32
readonly KEY_BYTES_MIN=32 KEY_BYTES_MAX=511
readonly DIRECTORY=${SECRETS_DIR:-.secrets}
readonly USAGE="usage: infra/compose/secrets.sh [SERVICE…], with SECRETS_DIR and JWT_KEY in the environment"
made=()

fail() {
    printf 'secrets: %s\n' "$*" >&2
    exit 1
}

random_hex() { od -An -v -tx1 -N "$SECRET_BYTES" /dev/urandom | tr -d ' \n'; }

has_secret() {
    # Docker makes a folder where it does not find a file.
    [[ ! -d $DIRECTORY/$1 ]] || rmdir "$DIRECTORY/$1" || fail "$DIRECTORY/$1 is a folder"
    [[ -e $DIRECTORY/$1 ]] || return 1
    [[ -s $DIRECTORY/$1 ]] || fail "$DIRECTORY/$1 is empty: remove it, and it is made anew"
}

# Each container reads its files as a user of its own, so that these are readable for all; it is the folder that keeps
# others out.
write_secret() {
    local name=$1 value=$2 how=$3 scratch
    [[ $value ]] || fail "/dev/urandom cannot be read"
    scratch=$(mktemp "$DIRECTORY/.new.XXXXXX")
    printf '%s\n' "$value" >"$scratch"
    chmod 0444 "$scratch"
    if [[ $how == replace ]]; then
        mv -f "$scratch" "$DIRECTORY/$name"
        made+=("$name")
    else
        # Two of these scripts at once agree on what the first has made.
        ! ln "$scratch" "$DIRECTORY/$name" 2>/dev/null || made+=("$name")
        rm -f "$scratch"
        has_secret "$name" || fail "cannot make $DIRECTORY/$name"
    fi
}

make_keys() {
    local key=${JWT_KEY:-}
    [[ -z $key ]] || ((${#key} >= KEY_BYTES_MIN && ${#key} <= KEY_BYTES_MAX)) ||
        fail "JWT_KEY must have $KEY_BYTES_MIN to $KEY_BYTES_MAX bytes, not ${#key}"
    if ! has_secret jwt_key; then
        write_secret jwt_key "${key:-$(random_hex)}" once
    fi
    if [[ $key && $(<"$DIRECTORY/jwt_key") != "$key" ]]; then
        # In this order: broken off in between, the old key is in both.
        write_secret jwt_key_previous "$(<"$DIRECTORY/jwt_key")" replace
        write_secret jwt_key "$key" replace
    fi
    has_secret jwt_key_previous || write_secret jwt_key_previous "$(<"$DIRECTORY/jwt_key")" once
}

make_store_secrets() {
    local service=$1 password
    has_secret "${service}_mongo_password" || write_secret "${service}_mongo_password" "$(random_hex)" once
    password=$(<"$DIRECTORY/${service}_mongo_password")
    has_secret "${service}_store_uri" ||
        write_secret "${service}_store_uri" "mongodb://$service:$password@mongo:27017/$service" once
}

main() {
    local services=("$@") service
    local LC_ALL=C # bytes, not characters
    for service in "${services[@]}"; do
        case $service in
            -h | --help) printf '%s\n' "$USAGE" && exit 0 ;;
        esac
        if [[ ! $service =~ ^[A-Za-z][A-Za-z0-9-]*$ ]]; then
            printf '%s\n' "secrets: '$service' is no name of a service" "$USAGE" >&2
            exit 64
        fi
    done
    ((${#services[@]})) || read -ra services < <(sed -n 's/^SERVICES := //p' Makefile)
    umask 077
    mkdir -p "$DIRECTORY"
    chmod 0700 "$DIRECTORY"
    make_keys
    has_secret mongo_root_password || write_secret mongo_root_password "$(random_hex)" once
    for service in "${services[@]}"; do
        make_store_secrets "$service"
    done
    ((${#made[@]} == 0)) || printf 'secrets: made in %s: %s\n' "$DIRECTORY" "${made[*]}" >&2
}

main "$@"
