#!/usr/bin/env bash
# Runs every test of the project. Installs and starts Docker and Podman first, because a live
# test that cannot run is a failure, never a skip. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'test: %s\n' "$*" >&2; }

if ! command -v cargo >/dev/null; then
    say "'cargo' is missing: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer"
    exit 4
fi

# The suite runs what the example builds, outside too, with the host's own Python; and holds the store
# of secrets against the program age and real SSH keys.
missing=()
command -v python3 >/dev/null || missing+=(python3)
command -v age >/dev/null || missing+=(age)
command -v bsdtar >/dev/null || missing+=(libarchive-tools)
command -v zstd >/dev/null || missing+=(zstd)
command -v ssh-keygen >/dev/null || missing+=(openssh-client)
if [ "${#missing[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || { say "missing: ${missing[*]}; install them, then run 'make test' again"; exit 4; }
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo -n)
    say "installing ${missing[*]}"
    "${sudo[@]}" apt-get update -qq </dev/null
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
fi

say "installing and starting the engines"
scripts/engines.sh install all
scripts/engines.sh start all

# Before the tests, which would have to share two processors with a bootstrap of minutes.
say "building the images that tests share"
cargo build --locked
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
for engine in DOCKER_HOST=unix:///var/run/docker.sock CONTAINER_HOST=unix:///run/podman/podman.sock; do
    start=$SECONDS
    env -u DOCKER_HOST -u CONTAINER_HOST -u LOKI_ENGINE "$engine" XDG_CACHE_HOME="$target/tmp/cache" \
        "$target/debug/loki" image build base full claude </dev/null >/dev/null 2>"$target/images.log" ||
        { tail -n 20 "$target/images.log" >&2; exit 1; }
    say "images are there after $((SECONDS - start)) s"
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
say "running the tests"
status=0
cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

# One line that says how much ran: a green run of nothing must not look like one.
awk -v status="$status" '
    /^test result:/ {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
            if ($i ~ /^ignored/) ignored += $(i - 1)
        }
    }
    END {
        printf "test: %d passed, %d failed, %d ignored\n", passed, failed, ignored
        if (status == 0 && (passed == 0 || failed > 0)) exit 1
    }
' "$log" || status=1
exit "$status"
