#!/usr/bin/env bash
# Lays out below target/bench-tools what `make bench` compares Loki with: bubblewrap, squid, socat and
# ripgrep as Debian's packages, unpacked and not installed, so that no service is started and nothing of
# this machine changes; and the npm package @anthropic-ai/sandbox-runtime. Safe to call again. What
# cannot be fetched is said, and its rows stand in the report as missing. No root needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The version that the report names; a newer one is another number.
runtime=0.0.83
tools=${CARGO_TARGET_DIR:-target}/bench-tools

say() { printf 'bench-tools: %s\n' "$*" >&2; }

# Prints the packages that are not installed, of those named and what they need.
lacking() {
    apt-get -s install --no-install-recommends "$@" </dev/null 2>/dev/null |
        awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }'
}

unpack() {
    local packages
    command -v apt-get >/dev/null || return 1
    mapfile -t packages < <(lacking "$@")
    [ "${#packages[@]}" -gt 0 ] || return 0
    mkdir -p "$tools/archives" "$tools/root"
    (cd "$tools/archives" && apt-get download -qq "${packages[@]}") ||
        { "${sudo[@]}" apt-get update -qq && (cd "$tools/archives" && apt-get download -qq "${packages[@]}"); } || return 1
    local archive
    for archive in "$tools"/archives/*.deb; do dpkg-deb -x "$archive" "$tools/root" || return 1; done
    rm -rf "$tools/archives"
}

sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo -n)

there() { command -v "$1" >/dev/null || [ -x "$tools/root/usr/bin/$1" ] || [ -x "$tools/root/usr/sbin/$1" ]; }

missing=()
there bwrap || missing+=(bubblewrap)
there socat || missing+=(socat)
there rg || missing+=(ripgrep)
there zstd || missing+=(zstd)
# The one that can end TLS; the plain package cannot.
there squid || missing+=(squid-openssl)
if [ "${#missing[@]}" -gt 0 ]; then
    say "fetching ${missing[*]}"
    unpack "${missing[@]}" || say "not fetched: ${missing[*]}; their rows will be missing"
fi

if ! [ -f "$tools/npm/node_modules/@anthropic-ai/sandbox-runtime/dist/cli.js" ]; then
    if command -v npm >/dev/null; then
        say "fetching sandbox-runtime $runtime"
        mkdir -p "$tools/npm"
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools/npm" \
            "@anthropic-ai/sandbox-runtime@$runtime" </dev/null >&2 ||
            say "not fetched: sandbox-runtime; its rows will be missing"
    else
        say "npm is missing: without it there is no sandbox-runtime to measure"
    fi
fi
say "laid out in $tools"
