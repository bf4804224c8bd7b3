#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The secrets that the manifests name, and that no repository holds: makes those that are missing, or with --check says
# which are. What is there is never changed.
set -euo pipefail

readonly HOST=ticketing.dev
readonly CERTIFICATE_DAYS=3650
readonly KEY_BYTES=32
readonly DATABASES=(auth tickets orders)

usage() {
    cat <<'END_OF_USAGE'
Usage: infra/k8s/secrets.sh [--check] [--production] [OPTION OF KUBECTL…]

  jwt-secret         JWT_KEY, which signs tokens; taken from the environment if it is set there, else made at random
  ticketing-dev-tls  a certificate for ticketing.dev, signed by itself
With --production, for overlays/production, where the certificate comes from somebody whom browsers believe:
  jwt-secret         as above
  mongo-secret       passwords of MongoDB: root, and each service's own
  store-uris         STORE_URI of each service, with its password

  --check            make nothing; exit with 1 and say what to do if one is missing
Options of kubectl say where: --namespace NAME, --context NAME.
END_OF_USAGE
}

check='' production=''
target=()
for argument in "$@"; do
    case $argument in
    --check) check=yes ;;
    --production) production=yes ;;
    -h | --help) usage && exit 0 ;;
    *) target+=("$argument") ;;
    esac
done

cluster() { kubectl "${target[@]}" "$@"; }

random_key() { openssl rand -hex "$KEY_BYTES"; }

# create NAME, and on standard input lines of "key value". kubectl gets it there, too: everybody on this machine can
# read arguments.
create() {
    local key value
    {
        printf 'apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata:\n  name: %s\ndata:\n' "$1"
        while read -r key value; do
            printf '  %s: %s\n' "$key" "$(printf '%s' "$value" | base64 --wrap=0)"
        done
    } | cluster create --filename -
}

password_of() { cluster get secret mongo-secret --output "jsonpath={.data.$1}" | base64 --decode; }

make_jwt_secret() {
    local key=${JWT_KEY:-} LC_ALL=C # bytes, not characters
    [[ $key ]] || key=$(random_key)
    ((${#key} >= KEY_BYTES)) || {
        printf 'JWT_KEY has %d bytes, and needs at least %d\n' "${#key}" "$KEY_BYTES" >&2
        return 1
    }
    create jwt-secret <<<"JWT_KEY $key"
}

make_ticketing_dev_tls() {
    local folder
    folder=$(mktemp --directory)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -r '$folder'" EXIT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$CERTIFICATE_DAYS" \
        -subj "/CN=$HOST" -addext "subjectAltName=DNS:$HOST" \
        -keyout "$folder/key" -out "$folder/certificate" 2>/dev/null
    cluster create secret tls ticketing-dev-tls --key="$folder/key" --cert="$folder/certificate"
}

make_mongo_secret() {
    local user
    for user in root "${DATABASES[@]}"; do
        printf '%s %s\n' "$user" "$(random_key)"
    done | create mongo-secret
}

make_store_uris() {
    local database password uris=
    for database in "${DATABASES[@]}"; do
        password=$(password_of "$database")
        uris+="$database mongodb://$database:$password@mongo-srv:27017/$database"$'\n'
    done
    create store-uris <<<"${uris%$'\n'}"
}

if [[ $production ]]; then
    secrets=(jwt-secret mongo-secret store-uris)
else
    secrets=(jwt-secret ticketing-dev-tls)
fi
missing=()
for secret in "${secrets[@]}"; do
    found=$(cluster get secret "$secret" --ignore-not-found --output name)
    [[ $found ]] || missing+=("$secret")
done

if [[ ! $check ]]; then
    for secret in "${missing[@]}"; do
        "make_${secret//-/_}"
    done
elif ((${#missing[@]})); then
    options=${target[*]:+ ${target[*]}}
    cat >&2 <<END_OF_MESSAGE
Missing in the cluster: secret ${missing[*]}. To make what is missing:
    infra/k8s/secrets.sh${production:+ --production}$options
END_OF_MESSAGE
    [[ " ${missing[*]} " != *' jwt-secret '* ]] || cat >&2 <<END_OF_MESSAGE
For jwt-secret alone, or with a key of your own (at least $KEY_BYTES bytes):
    kubectl$options create secret generic jwt-secret --from-literal=JWT_KEY="\$(openssl rand -hex $KEY_BYTES)"
END_OF_MESSAGE
    exit 1
fi
