#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The secrets that the manifests name, and that no repository holds: makes those that are missing, or with --check says
# which are. What is there is never changed.
set -euo pipefail
shopt -s inherit_errexit

readonly HOST=ticketing.dev
readonly CERTIFICATE_DAYS=3650
readonly KEY_BYTES=32 KEY_BYTES_MAX=511
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

  --check            make nothing; exit with 1 and say what to do if one is missing that pods cannot do without
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

fail() {
    printf 'secrets: %s\n' "$*" >&2
    exit 1
}

random_key() { openssl rand -hex "$KEY_BYTES"; }

# create NAME KEY VALUE [KEY VALUE]…. kubectl gets it on standard input: everybody on this machine can read arguments.
# It is asked for nothing before everything is known.
create() {
    local name=$1 manifest encoded
    manifest=$'apiVersion: v1\nkind: Secret\ntype: Opaque\n'"metadata: {name: $name}"$'\ndata:\n'
    shift
    while (($#)); do
        [[ $2 ]] || fail "the value of $1 in $name is empty"
        encoded=$(printf '%s' "$2" | base64 --wrap=0)
        manifest+="  $1: $encoded"$'\n'
        shift 2
    done
    cluster create --filename - <<<"$manifest"
}

password_of() { cluster get secret mongo-secret --output "jsonpath={.data.$1}" | base64 --decode; }

make_jwt_secret() {
    local key=${JWT_KEY:-} LC_ALL=C # bytes, not characters
    [[ $key ]] || key=$(random_key)
    ((${#key} >= KEY_BYTES && ${#key} <= KEY_BYTES_MAX)) ||
        fail "JWT_KEY must have $KEY_BYTES to $KEY_BYTES_MAX bytes, not ${#key}"
    create jwt-secret JWT_KEY "$key"
}

make_ticketing_dev_tls() {
    local folder said
    folder=$(mktemp --directory)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -r '$folder'" EXIT
    said=$(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$CERTIFICATE_DAYS" \
        -subj "/CN=$HOST" -addext "subjectAltName=DNS:$HOST" \
        -keyout "$folder/key" -out "$folder/certificate" 2>&1) || fail "$said"
    cluster create secret tls ticketing-dev-tls --key="$folder/key" --cert="$folder/certificate"
}

make_mongo_secret() {
    local user password passwords=()
    for user in root "${DATABASES[@]}"; do
        password=$(random_key)
        passwords+=("$user" "$password")
    done
    create mongo-secret "${passwords[@]}"
}

make_store_uris() {
    local database password uris=()
    for database in "${DATABASES[@]}"; do
        password=$(password_of "$database")
        [[ $password ]] || fail "mongo-secret has no password for $database"
        # Of this script's own making it is; one from elsewhere may be anything.
        [[ $password =~ ^[A-Za-z0-9._~-]+$ ]] ||
            fail "the password of $database has to be encoded before it can be in a URI: make store-uris yourself"
        uris+=("$database" "mongodb://$database:$password@mongo-srv:27017/$database")
    done
    create store-uris "${uris[@]}"
}

if [[ $production ]]; then
    secrets=(jwt-secret mongo-secret store-uris)
else
    secrets=(jwt-secret ticketing-dev-tls)
fi
missing=()
for secret in "${secrets[@]}"; do
    found=$(cluster get secret "$secret" --ignore-not-found --output name)
    if [[ $found ]]; then
        continue
    elif [[ $check && $secret == ticketing-dev-tls ]]; then
        printf 'There is no secret %s: until infra/k8s/secrets.sh makes it, https has a certificate of the ingress controller.\n' \
            "$secret" >&2
    else
        missing+=("$secret")
    fi
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
For jwt-secret alone, or with a key of your own ($KEY_BYTES to $KEY_BYTES_MAX bytes):
    kubectl$options create secret generic jwt-secret --from-literal=JWT_KEY="\$(openssl rand -hex $KEY_BYTES)"
END_OF_MESSAGE
    exit 1
fi
