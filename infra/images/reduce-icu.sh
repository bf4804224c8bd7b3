#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes ICU's library of data for libmongoc alone, from the one of this system. All of ICU's data are 31 MB: half of an
# image. libmongoc prepares passwords with them (SASLprep, RFC 4013), which takes two items of four thousand. That it
# prepares all passwords as before is proven here, each time; if it is not so, the image is not built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly USAGE="usage: reduce-icu.sh FOLDER"
# The profile, and the normalisation that it asks for.
readonly ITEMS=(rfc4013.spp nfkc.nrm)
# What libmongoc calls. Once it calls more of ICU, it may need more of its data.
readonly FUNCTIONS="u_strFromUTF8 u_strToUTF8 usprep_close usprep_openByType usprep_prepare"

folder=${1:?$USAGE}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    printf 'reduce-icu.sh: %s\n' "$*" >&2
    exit 1
}

# The path of a library, by the beginning of its name.
find_library() { ldconfig -p | sed -En "s/^[[:space:]]*$1\.so\.[^ ]* .* => (\/[^ ]*)\$/\1/p" | head -n 1; }

library=$(find_library libicudata)
name=${library##*/}
version=${name##*.so.}
[[ -n $version ]] || fail "ICU is not there"

called=$(nm --dynamic --undefined-only "$(find_library libmongoc-1.0)" | sed -n "s/^ *U \(.*\)_$version\$/\1/p" | xargs)
[[ $called == "$FUNCTIONS" ]] || fail "libmongoc calls other functions of ICU than $FUNCTIONS: $called"

# The data are all that there is in .rodata, and are called icudt<version> with a letter for the order of bytes.
package=icudt${version}l
mkdir "$work/items" "$work/reduced"
printf '%s\n' "${ITEMS[@]}" >"$work/items.txt"
objcopy --output-target=binary --only-section=.rodata "$library" "$work/$package.dat"
icupkg --extract "$work/items.txt" --destdir "$work/items" "$work/$package.dat"
icupkg --copyright --add "$work/items.txt" --sourcedir "$work/items" new "$work/reduced/$package.dat"
gcc -shared -nostdlib "-Wl,-soname=$name" -o "$folder/$name" -x assembler - <<END
.section .rodata
.balign 16
.global icudt${version}_dat
.type icudt${version}_dat, %object
icudt${version}_dat:
.incbin "$work/reduced/$package.dat"
.size icudt${version}_dat, . - icudt${version}_dat
.section .note.GNU-stack, "", %progbits
END

gcc -std=c17 -O2 -Wall -Wextra -Werror -o "$work/saslprep" saslprep.c -licuuc
LD_LIBRARY_PATH=$folder ldd "$work/saslprep" | grep -qF "=> $folder/$name " || fail "$folder/$name would not be loaded"
"$work/saslprep" >"$work/before" || fail "this system's own ICU does not prepare passwords as RFC 4013 says"
LD_LIBRARY_PATH=$folder "$work/saslprep" >"$work/after" || fail "the reduced data are not enough"
cmp "$work/before" "$work/after" || fail "passwords are prepared in another way with the reduced data"
printf '%s: %d bytes in place of %d; %d passwords are prepared as before\n' "$name" \
    "$(stat --format=%s "$folder/$name")" "$(stat --format=%s --dereference "$library")" "$(wc -l <"$work/before")"
