#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, testing and running Turnstile needs: Debian's packages, NATS Streaming and kustomize into
# .deps/bin, and the MongoDB server that the tests start into .deps/mongo. `deps.sh stand-ins` adds what only the images of
# infra/debian need, a nats-server whose clusters can be relied on. With nothing to do it says nothing and takes a moment.
# It leaves no system service running or enabled.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly PACKAGES=(
    # to build
    gcc make pkg-config libc6-dev libmicrohttpd-dev libjansson-dev libjwt-dev libnats-dev libsqlite3-dev
    libsodium-dev libcurl4-openssl-dev libssl-dev libmongoc-dev
    # to test and to lint
    libcmocka-dev python3 python3-pytest python3-pymongo python3-yaml sqlite3 curl clang-format cppcheck shellcheck binutils
)
readonly BROKER_MODULE=github.com/nats-io/nats-streaming-server
readonly BROKER_VERSION=0.25.6
readonly BROKER=.deps/bin/nats-streaming-server
# Of kustomize the last version that Debian's Go builds: `make lint` renders the manifests with it.
readonly KUSTOMIZE_MODULE=sigs.k8s.io/kustomize/kustomize/v5
readonly KUSTOMIZE_VERSION=5.0.3
readonly KUSTOMIZE=.deps/bin/kustomize
# For the JetStream cluster of the stand-ins; Debian 12's is 2.9. It wants this Go, which is fetched where there is an older one.
readonly SERVER_MODULE=github.com/nats-io/nats-server/v2
readonly SERVER_VERSION=2.11.17
readonly SERVER=.deps/bin/nats-server
readonly SERVER_GO=1.25.8
readonly BUILD_SECONDS_MAX=900
readonly MONGO=tests/servers/mongo
readonly MONGO_CLASS=.deps/mongo/classes/MongoTestServer.class
readonly MONGO_JARS=.deps/mongo/jars
readonly MAVEN_GOAL=org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies
readonly MAVEN_SECONDS_MAX=300
readonly APT_LOG=.deps/apt.log

# shellcheck source=infra/local/packages.sh
source infra/local/packages.sh

say() { printf 'deps: %s\n' "$*" >&2; }
fail() {
    say "$@"
    exit 1
}

has_broker() { [[ $("$BROKER" --version 2>/dev/null) == *"version $BROKER_VERSION,"* ]]; }
# One that was built with Go alone says only that it is in development.
has_kustomize() { [[ $("$KUSTOMIZE" version 2>/dev/null) == "v$KUSTOMIZE_VERSION" ]]; }
has_server() { [[ $("$SERVER" --version 2>/dev/null) == *": v$SERVER_VERSION" ]]; }
# Another flavour of nginx, or one from elsewhere, will do.
has_nginx() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nginx >/dev/null; }
# So will another nats-server: the tests of JetStream start it.
has_nats_server() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v nats-server >/dev/null; }
# Of Prometheus only its tool is wanted, which checks what services answer at /metrics.
has_promtool() { command -v promtool >/dev/null; }
# Compose is wanted to read its files; that needs no engine.
has_compose() { command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1; }
# Debian's own Go is enough, and so is any other that is not older.
has_go() { command -v go >/dev/null; }
has_maven() { command -v mvn >/dev/null; }
has_javac() { command -v java >/dev/null && command -v javac >/dev/null; }
has_mongo_jars() {
    [[ -d $MONGO_JARS ]] && (cd "$MONGO_JARS" && sha256sum --status --check "$OLDPWD/$MONGO/jars.sha256") 2>/dev/null
}
has_mongo() { [[ $MONGO_CLASS -nt $MONGO/MongoTestServer.java ]] && has_mongo_jars; }

# Prints the packages that are missing, one a line.
missing_packages() {
    local installed
    # dpkg-query complains of the unknown ones: not listed is missing.
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null |
        sed -n 's/^installed //p' || true)
    printf '%s\n' "${PACKAGES[@]}" | grep -vxF -e "$installed" || true
    has_nginx || echo nginx
    has_nats_server || echo nats-server
    has_promtool || echo prometheus
    has_compose || echo docker-compose
    has_go || { has_broker && has_kustomize && { [[ ! $stand_ins ]] || has_server; }; } || echo golang-go
    if ! has_mongo; then
        has_javac || echo default-jdk-headless
        has_mongo_jars || has_maven || echo maven
    fi
}

check_system() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        fail "only Debian 12 is supported. Elsewhere, install what these Debian packages hold:" \
            "${PACKAGES[*]} nginx nats-server prometheus docker-compose, golang-go to build NATS Streaming and kustomize," \
            "maven and default-jdk-headless for the tests"
    fi
    grep -qx 'VERSION_CODENAME=bookworm' /etc/os-release ||
        say "this is not Debian 12, which alone is supported; trying all the same"
}

install_packages() {
    local missing=("$@") updated=yes
    ((EUID == 0)) || command -v sudo >/dev/null ||
        fail "packages are missing, and this is neither root nor is there sudo. As root: apt-get install ${missing[*]}"
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    : >"$APT_LOG"
    forbid_service_starts
    apt update || updated=
    apt install --no-install-recommends "${missing[@]}" || true
    remove_policy
    local package
    for package in nginx nats-server prometheus; do
        if [[ " ${missing[*]} " == *" $package "* ]] && has_package "$package"; then
            disable_service "$package"
        fi
    done
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    say "the last words of apt-get (all of them: $APT_LOG):"
    tail -n 12 "$APT_LOG" | sed 's/^/    /' >&2
    [[ $updated ]] || say "apt-get update failed: the package lists could not be fetched"
    fail "apt-get install did not install: ${missing[*]}"
}

# Go's caches stay inside .deps, and are removed when the programs are built: they are twenty times their size.
install_with_go() {
    local what=$1 module=$2 flags=$3
    say "building $what with $(go version | cut -d ' ' -f 3)"
    if ! timeout "$BUILD_SECONDS_MAX" env GOBIN="$PWD/.deps/bin" GOPATH="$PWD/.deps/go" GOMODCACHE="$PWD/.deps/go/mod" \
        GOCACHE="$PWD/.deps/go/cache" GOFLAGS="${GOFLAGS:-} -modcacherw" go install -ldflags "$flags" "$module" \
        </dev/null >.deps/go.log 2>&1; then
        say "the last words of go install (all of them: .deps/go.log):"
        tail -n 12 .deps/go.log | sed 's/^/    /' >&2
        fail "go install $module failed; GOPROXY is $(go env GOPROXY)"
    fi
}

is_go_at_least() { [[ $(printf 'go%s\n' "$1" "$(go env GOVERSION | cut -c 3-)" | sort --version-sort | head -n 1) == "go$1" ]]; }

# Go is a module of its own; what was in it executable is so no more.
fetch_go() {
    local module folder
    module=golang.org/toolchain@v0.0.1-go$1.linux-$(go env GOARCH)
    folder=$PWD/.deps/go/mod/$module
    say "fetching Go $1, since that of Debian 12 is too old for nats-server"
    if ! timeout "$BUILD_SECONDS_MAX" env GOPATH="$PWD/.deps/go" GOMODCACHE="$PWD/.deps/go/mod" \
        GOFLAGS="${GOFLAGS:-} -modcacherw" go mod download "$module" </dev/null >.deps/go.log 2>&1; then
        fail "go mod download $module failed: $(tail -n 1 .deps/go.log)"
    fi
    chmod +x "$folder"/bin/* "$folder"/pkg/tool/*/*
    PATH=$folder/bin:$PATH
    export GOROOT=$folder
}

install_server() {
    is_go_at_least "$SERVER_GO" || fetch_go "$SERVER_GO"
    GOTOOLCHAIN=local install_with_go "nats-server $SERVER_VERSION" "$SERVER_MODULE@v$SERVER_VERSION" "-s -w"
    has_server || fail "$SERVER does not say that it is version $SERVER_VERSION"
}

install_broker() {
    install_with_go "NATS Streaming $BROKER_VERSION" "$BROKER_MODULE@v$BROKER_VERSION" ""
    has_broker || fail "$BROKER does not say that it is NATS Streaming $BROKER_VERSION"
}

install_kustomize() {
    install_with_go "kustomize $KUSTOMIZE_VERSION" "$KUSTOMIZE_MODULE@v$KUSTOMIZE_VERSION" \
        "-s -w -X sigs.k8s.io/kustomize/api/provenance.version=v$KUSTOMIZE_VERSION"
    has_kustomize || fail "$KUSTOMIZE does not say that it is version $KUSTOMIZE_VERSION"
}

# Maven's settings (~/.m2/settings.xml) say where it fetches from; what it fetches is checked file by file.
fetch_mongo_jars() {
    rm -rf "$MONGO_JARS"
    mkdir -p "$MONGO_JARS"
    say "fetching mongo-java-server with Maven"
    if ! timeout "$MAVEN_SECONDS_MAX" mvn --batch-mode --file "$MONGO/pom.xml" "-Dmaven.repo.local=$PWD/.deps/maven" \
        "$MAVEN_GOAL" -DincludeScope=runtime "-DoutputDirectory=$PWD/$MONGO_JARS" </dev/null >.deps/maven.log 2>&1; then
        say "the last words of mvn (all of them: .deps/maven.log):"
        tail -n 12 .deps/maven.log | sed 's/^/    /' >&2
        fail "mvn did not fetch what $MONGO/pom.xml names"
    fi
    rm -rf .deps/maven
    has_mongo_jars || fail "what mvn fetched into $MONGO_JARS is not what $MONGO/jars.sha256 says"
}

install_mongo() {
    has_mongo_jars || fetch_mongo_jars
    mkdir -p "${MONGO_CLASS%/*}"
    javac -Xlint:all -cp "$MONGO_JARS/*" -d "${MONGO_CLASS%/*}" "$MONGO/MongoTestServer.java" >.deps/javac.log 2>&1 ||
        fail "javac could not compile $MONGO/MongoTestServer.java: $(head -n 3 .deps/javac.log)"
}

has_all() { has_broker && has_kustomize && has_mongo && { [[ ! $stand_ins ]] || has_server; }; }

main() {
    local missing=() stand_ins=
    case $* in
        '') ;;
        stand-ins) stand_ins=yes ;;
        *) fail "usage: deps.sh [stand-ins]" ;;
    esac
    if command -v dpkg-query >/dev/null; then
        mapfile -t missing < <(missing_packages)
        if ((${#missing[@]} == 0)) && has_all; then
            return 0
        fi
    fi
    check_system
    mkdir -p .deps/bin
    exec 9>.deps/lock
    flock 9
    # Another make may have done it while this one waited.
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    has_broker || install_broker
    has_kustomize || install_kustomize
    [[ ! $stand_ins ]] || has_server || install_server
    rm -rf .deps/go
    has_mongo || install_mongo
    say "all there"
}

main "$@"
