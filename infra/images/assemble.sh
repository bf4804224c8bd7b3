#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the program in the folder PROGRAM, and lays out what its image is made of: /runtime, which the services have in
# common, and /image, which is the program's own. ICU's reduced data are in /icu already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly USAGE="usage: assemble.sh PROGRAM VERSION"
folder=${1:?$USAGE}
wanted_version=${2:?$USAGE}
name=${folder##*/}
program=build/release/$name

make -j"$(nproc)" "$program"
version=$("$program" --version)
if [[ $version != "$name $wanted_version" ]]; then
    printf 'assemble.sh: this is %s, and VERSION is said to be %s: they are to agree in Makefile and Dockerfile\n' \
        "$version" "$wanted_version" >&2
    exit 1
fi

install -D --strip "$program" "/image/usr/local/bin/$name"
ln -s "/usr/local/bin/$name" /image/program
infra/images/collect.sh "$program" /icu /runtime
