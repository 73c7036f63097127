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
# of secrets against the program age and real SSH keys; npm and pip say which registries there are.
missing=()
command -v python3 >/dev/null || missing+=(python3)
command -v age >/dev/null || missing+=(age)
command -v bsdtar >/dev/null || missing+=(libarchive-tools)
command -v zstd >/dev/null || missing+=(zstd)
command -v ssh-keygen >/dev/null || missing+=(openssh-client)
command -v pip >/dev/null || missing+=(python3-pip)
command -v npm >/dev/null || missing+=(npm)
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

# All at once: what tests need of a library is more than the program needs, and a build of the program
# alone would compile everything a second time.
say "building the program and the tests"
cargo test --locked --workspace --no-run
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
# For git over SSH. Laid out below the target directory, for the package would start a service.
sshd() {
    command -v apt-get >/dev/null || return 1
    mkdir -p "$target/tmp/sshd" && cd "$target/tmp/sshd"
    apt-get download -qq openssh-server libwrap0 2>/dev/null ||
        { apt-get update -qq && apt-get download -qq openssh-server libwrap0; } || return 1
    for package in *.deb; do dpkg-deb -x "$package" . || return 1; done
}
if ! [ -x /usr/sbin/sshd ] && ! [ -x "$target/tmp/sshd/usr/sbin/sshd" ]; then
    say "fetching sshd"
    (sshd) || { say "missing: sshd; install it, then run 'make test' again"; exit 4; }
fi
# Before the tests, which would have to share two processors with a bootstrap of minutes.
for engine in DOCKER_HOST=unix:///var/run/docker.sock CONTAINER_HOST=unix:///run/podman/podman.sock; do
    start=$SECONDS
    env -u DOCKER_HOST -u CONTAINER_HOST -u LOKI_ENGINE "$engine" XDG_CACHE_HOME="$target/tmp/cache" \
        "$target/debug/loki" image build base full claude </dev/null >/dev/null
    say "the images that tests share are there after $((SECONDS - start)) s"
done

# Half of what a live test does is waiting for an engine: two tests more than there are processors.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 2))}

log=$(mktemp)
again=$(mktemp)
trap 'rm -f "$log" "$again"' EXIT
say "running the tests"
status=0
cargo test --locked --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

# Prints the failed tests of a log, one a line: the program that ran it, and its name.
failed() {
    awk '
        /^ *Running / { gsub(/[()]/, "", $NF); program = $NF }
        /^test .* \.\.\. FAILED$/ { print program, $2 }
    ' "$1"
}

# Tests share two processors, two engines and one table of processes with each other. A test that
# fails beside the others is asked once more by itself: what fails there too is a failure, what does
# not is named at the end with its first words, and is to be mended all the same. Many failures are no
# accident of a busy machine.
alone() {
    local program name
    while read -r program name; do
        say "once more, alone: $name"
        [ -x "$program" ] && "$program" --exact "$name" </dev/null >>"$again" 2>&1 || return 1
    done
}
crowded=$(failed "$log")
if [ "$status" != 0 ] && [ -n "$crowded" ] && [ "$(wc -l <<<"$crowded")" -le 5 ]; then
    if alone <<<"$crowded"; then
        status=0
        while read -r _ name; do
            printf 'test: FAILED BESIDE OTHERS, passed alone: %s\n' "$name"
            grep -F -A 6 "thread '$name'" "$log" | head -n 7 || true
        done <<<"$crowded"
    else
        cat "$again"
    fi
fi

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
        if (status == 0 && passed == 0) exit 1
    }
' "$log" || status=1
exit "$status"
