#!/usr/bin/env bash
# From a clone to merged code: installs what is missing, builds Loki, runs the shipped example in
# a fresh folder and shows what came out. Asks before it installs anything when there is a
# terminal to ask on; YES=1 answers for you, LOKI_DEMO_DIR names the folder.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "demo: $*" >&2; }
stop() {
    say "$1"
    shift
    printf '      %s\n' "$@" >&2
    exit 4
}

# --- what is missing -----------------------------------------------------------------------

packages=()
need() { # need PROGRAM PACKAGE...
    command -v "$1" >/dev/null && return
    shift
    packages+=("$@")
}

docker_answers() { command -v docker >/dev/null && docker version >/dev/null 2>&1; }

engine=docker
look() {
    packages=()
    need git git
    need cc gcc libc6-dev
    if docker_answers; then
        engine=docker
    else
        engine=podman
        need podman podman
        need runc runc
        # Podman does not start without a network backend, which its package only recommends.
        [ -e /usr/lib/podman/netavark ] || [ -e /usr/libexec/podman/netavark ] || packages+=(netavark)
    fi
    need mmdebstrap mmdebstrap
}

agreed() {
    [ -t 0 ] && [ -t 2 ] && [ "${YES:-}" != 1 ] || return 0
    local answer
    read -r -p "demo: install ${packages[*]} with apt-get? [y/N] " answer
    [[ $answer == [yY]* ]]
}

install() {
    if ! command -v apt-get >/dev/null; then
        stop "missing here: ${packages[*]} (named as on Debian), and there is no apt-get" \
            "install what these packages hold with your package manager, then run 'make demo' again" \
            "Docker may stand in for Podman and runc, if 'docker version' answers"
    fi
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || stop "installing needs root, and there is no sudo" \
            "as root: apt-get install ${packages[*]}" "then run 'make demo' again"
        sudo=(sudo)
    fi
    agreed || stop "nothing was installed" \
        "install it yourself: apt-get install ${packages[*]}" "then run 'make demo' again"
    say "installing ${packages[*]}"
    local log
    log=$(mktemp)
    if ! { "${sudo[@]}" apt-get update -qq &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "${packages[@]}"; } </dev/null >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        stop "apt-get could not install ${packages[*]}; all of it is in $log" \
            "is the network there? then run 'make demo' again"
    fi
    rm -f "$log"
}

git_is_new_enough() {
    local version
    version=$(git version | sed -E 's/[^0-9]*([0-9]+\.[0-9]+).*/\1/')
    [ "$(printf '%s\n' 2.38 "$version" | sort -V | head -n 1)" = 2.38 ]
}

command -v cargo >/dev/null || stop "'cargo' is missing" \
    "install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml") or newer" \
    "then run 'make demo' again"
look
if [ "$engine" = podman ] && [ "$(id -u)" != 0 ]; then
    stop "Docker does not answer this user, and rootless Podman is not supported yet" \
        "run 'make demo' as root, or let this user reach the Docker socket"
fi
[ ${#packages[@]} = 0 ] || install
git_is_new_enough || stop "$(git version) is too old: landing needs 'git merge-tree --write-tree'" \
    "install git 2.38 or newer, then run 'make demo' again"

# --- build ---------------------------------------------------------------------------------

say "building Loki (some minutes the first time)"
cargo build --locked --manifest-path "$top/Cargo.toml"
target=$(cargo metadata --locked --format-version 1 --no-deps --manifest-path "$top/Cargo.toml" |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
PATH="$target/debug:$PATH"

# --- a fresh repository --------------------------------------------------------------------

here=${LOKI_DEMO_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/loki-demo.XXXXXX")}
mkdir -p "$here"
cd "$here"
[ -z "$(ls -A)" ] || stop "'$here' is not empty" \
    "name an empty folder: make demo LOKI_DEMO_DIR=/path/to/new/folder"
git init --quiet --initial-branch=main
git config user.name "Loki demo"
git config user.email "demo@example.invalid"
printf '# Todo\n\nAn empty project. Loki works on a branch of its own.\n' >README.md
git add README.md
git commit --quiet --message "An empty project"
before=$(git rev-parse HEAD)
say "a fresh repository with one commit stands in $here; the engine is $engine"

# --- run -----------------------------------------------------------------------------------

say "loki image build"
loki image build
spec="$top/examples/simple-todo-app.md"
say "loki start $spec --sandbox"
code=0
loki start "$spec" --sandbox || code=$?
if [ "$code" != 0 ]; then
    say "loki start ended with exit code $code; the lines above say why"
    say "look at it:  cd $here && loki events"
    exit "$code"
fi

# --- what happened -------------------------------------------------------------------------

branch=$(git for-each-ref --sort=-creatordate --format='%(refname:short)' 'refs/heads/loki/*' | head -n 1)
[ -n "$branch" ] || { say "the run ended well but left no branch loki/…: this is a bug"; exit 70; }
if [ "$(git rev-parse HEAD)" != "$before" ] || [ -n "$(git status --porcelain)" ]; then
    say "your branch or files changed: this is a bug"
    exit 70
fi

cat <<END

What happened
  The specification $spec
  was split into tasks. Each ran in a container of its own, without a network interface and
  without capabilities, held to the rights of its role. What passed the hand-over gate, its
  checks and its review was merged into $branch:

$(git log --graph --oneline "$branch" | sed 's/^/    /')

  Files:
$(git ls-tree -r --name-only "$branch" | sed 's/^/    /')

  Your branch main and your files are as they were.

Look at it
  cd $here
  export PATH=$target/debug:\$PATH
  loki status                          # every task, its attempts and its result
  loki events                          # everything that happened, the denied egress too
  git log --stat $branch
  git worktree add app $branch         # the application itself; to run it:
  (cd app && PYTHONPATH=src python3 -m todo)
  loki clean                           # shows what Loki made here, then removes it
END
