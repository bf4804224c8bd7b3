#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Collects what a program needs to run where there is nothing else: the libraries that the loader would find for it, at
# the paths where it looks for them, certificates, and names for its user. No shell, no tools, no package lists. A library
# that is in the folder REPLACEMENTS too is taken from there: the one of ICU's data, which is made for libmongoc alone.
set -euo pipefail

readonly USAGE="usage: collect.sh PROGRAM REPLACEMENTS ROOT"
readonly USER_NAME=turnstile
readonly USER_ID=65532
readonly CERTIFICATES=/etc/ssl/certs/ca-certificates.crt
readonly OPENSSL=/usr/lib/ssl
# Layers are the same where their files are, times included: then services share the one with their libraries.
readonly FIXED_TIME=@0

program=${1:?$USAGE}
replacements=${2:?$USAGE}
root=${3:?$USAGE}

# Prints the loader and all libraries, and fails if one is missing.
libraries() {
    local listed
    listed=$(ldd "$1")
    if grep 'not found' <<<"$listed" >&2; then
        return 1
    fi
    sed -En 's/^.* => (\/[^ ]*) .*$/\1/p; s/^[[:space:]]+(\/[^ ]*) .*$/\1/p' <<<"$listed"
}

# pthread_cancel and pthread_exit load it by name when they are first called.
thread_library() {
    ldconfig -p | sed -En 's/^[[:space:]]*libgcc_s\.so\.1 .* => (\/[^ ]*)$/\1/p' | head -n 1
}

# The reduced data are proven for libmongoc, and for nobody else.
check_icu() {
    case ${1##*/} in libicu* | libmongoc-1.0.*) return 0 ;; esac
    if readelf --dynamic "$1" | grep -q 'NEEDED.*\[libicu'; then
        printf 'collect.sh: %s uses ICU, of whose data there is only what libmongoc needs\n' "$1" >&2
        return 1
    fi
}

copy() { install -D -m "$1" "$2" "$root$2"; }

found=$(libraries "$program")
found+=$'\n'$(thread_library)
sort -u <<<"$found" | while read -r path; do
    check_icu "$path"
    replacement=$replacements/${path##*/}
    if [[ -e $replacement ]]; then
        install -D -m 755 "$replacement" "$root$path"
    else
        copy 755 "$path"
    fi
done

# OpenSSL looks for cert.pem in its own folder, and then for certificates by their hash.
copy 644 "$CERTIFICATES"
copy 644 /etc/ssl/openssl.cnf
mkdir -p "$root$OPENSSL"
ln -s "$CERTIFICATES" "$root$OPENSSL/cert.pem"
ln -s /etc/ssl/certs "$root$OPENSSL/certs"
ln -s /etc/ssl/openssl.cnf "$root$OPENSSL/openssl.cnf"

printf '%s\n' "root:x:0:0:root:/:/nonexistent" "$USER_NAME:x:$USER_ID:$USER_ID::/:/nonexistent" >"$root/etc/passwd"
printf '%s\n' "root:x:0:" "$USER_NAME:x:$USER_ID:" >"$root/etc/group"
printf '%s\n' "passwd: files" "group: files" "hosts: files dns" >"$root/etc/nsswitch.conf"

find "$root" -exec touch --no-dereference --date="$FIXED_TIME" {} +
