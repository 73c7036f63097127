#!/bin/sh
# Installs and starts container engines where they are missing (Debian and Ubuntu; elsewhere it says what to do).
#
#   scripts/engines.sh install [docker|podman|all]   packages, asking first on a terminal
#   scripts/engines.sh start   [docker|podman|all]   daemons that do not answer yet; waits until they do
#   scripts/engines.sh stop    [docker|podman|all]   ends those which this script started, and no others
#   scripts/engines.sh status  [docker|podman|all]   versions; exit 1 when one does not answer
#   scripts/engines.sh user    [NAME]                makes the ordinary user (loki-test) whose rootless Podman the
#                                                    tests use, with subordinate ids; needs root
#
# No service manager is assumed. Safe to call again at any time; never reads from a closed stdin.
# LOKI_PODMAN_SOCKET and DOCKER_HOST are not consulted: these are the default sockets of root.
set -eu

state=/run/loki-engines
docker_socket=/var/run/docker.sock
podman_socket=/run/podman/podman.sock
wait_seconds=60

say() { printf 'engines: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif has sudo; then sudo "$@"
    else die "\`$1\` needs root: run \`su -c 'scripts/engines.sh $verb $what'\`"; fi
}

wants() { [ "$what" = all ] || [ "$what" = "$1" ]; }

# Podman does not start without a network backend, which its package only recommends: netavark, or
# the plugins on releases that have no netavark.
network_backend() {
    if [ -e /usr/lib/podman/netavark ] || [ -e /usr/libexec/podman/netavark ]; then return 0; fi
    if apt-cache show netavark >/dev/null 2>&1; then echo netavark; return 0; fi
    [ -e /usr/lib/cni/bridge ] || echo containernetworking-plugins
}

# Prints the packages that the wanted engines lack.
missing() {
    has mmdebstrap || echo mmdebstrap
    has curl || echo curl
    if wants docker && ! has dockerd; then echo docker.io; fi
    if wants podman; then
        has podman || echo podman
        has runc || echo runc
        has newuidmap || echo uidmap
        has slirp4netns || echo slirp4netns
        network_backend
    fi
}

confirm() {
    if [ "${CI:-}" = true ] || [ ! -t 0 ]; then return 0; fi
    printf 'engines: install these packages: %s? [Y/n] ' "$1" >&2
    read -r answer || answer=n
    case "$answer" in ''|y|Y|yes) ;; *) die "nothing installed" ;; esac
}

install_packages() {
    packages=$(missing | tr '\n' ' ')
    if [ -z "$packages" ]; then say "nothing to install"; return 0; fi
    has apt-get || die "this is not Debian or Ubuntu: install an engine with your own package manager (Docker >= 20.10, or Podman >= 4 with runc on cgroup v1 hosts), then run \`scripts/engines.sh start\`"
    confirm "$packages"
    say "installing $packages"
    as_root apt-get update -q >/dev/null </dev/null || say "package lists are not fresh (no network?), trying with what is there"
    # Which packages there are is known only now.
    packages=$(missing | tr '\n' ' ')
    # Services must not be started by the packages: there may be no service manager to start them with.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages </dev/null >&2 \
        || die "installing failed: see above, then run \`scripts/engines.sh install $what\` again"
}

# answers SOCKET: whether an engine serves its API there.
answers() { [ -S "$1" ] && as_root curl -fsS -m 5 --unix-socket "$1" http://engine/_ping >/dev/null 2>&1; }

# await NAME SOCKET: until the socket answers, or fails with the end of the log.
await() {
    left=$wait_seconds
    until answers "$2"; do
        left=$((left - 1))
        if [ "$left" -le 0 ] || ! as_root kill -0 "$(as_root cat "$state/$1.pid")" 2>/dev/null; then
            as_root tail -n 20 "$state/$1.log" >&2 || true
            die "$1 did not come up: its log is $state/$1.log"
        fi
        sleep 1
    done
}

# launch NAME COMMAND...: in a session of its own, so that it outlives this script and its terminal.
# Its directory is the state's: container monitors leave a file where their service was started.
launch() {
    name=$1; shift
    say "starting $name (log: $state/$name.log)"
    as_root mkdir -p -m 0700 "$state"
    # The number of a service that was killed must not be taken for the new one's.
    as_root rm -f "$state/$name.pid"
    as_root setsid sh -c 'echo $$ >"$0/$1.pid"; log="$0/$1.log"; shift; cd "$0"; exec nohup "$@" </dev/null >"$log" 2>&1' \
        "$state" "$name" "$@" </dev/null >/dev/null 2>&1 &
    left=50
    until as_root test -s "$state/$name.pid" || [ "$left" -le 0 ]; do left=$((left - 1)); sleep 0.1; done
}

start_docker() {
    has dockerd || die "docker is not installed: run \`scripts/engines.sh install docker\`"
    if answers "$docker_socket"; then return 0; fi
    launch docker dockerd -H "unix://$docker_socket"
    if (await docker "$docker_socket"); then return 0; fi
    # A daemon that was killed leaves a note that its containerd runs; the failed start removes it.
    say "starting docker once more"
    launch docker dockerd -H "unix://$docker_socket"
    await docker "$docker_socket"
}

# The service's own configuration: a machine without a service manager has no systemd cgroup manager and no
# journal, crun cannot run on cgroup v1 and hybrid hosts, and limits above the host's own are refused.
podman_configuration() {
    cat <<CONF
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$1:$1"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
$2
CONF
}

start_podman() {
    has podman || die "podman is not installed: run \`scripts/engines.sh install podman\`"
    if answers "$podman_socket"; then return 0; fi
    runtime=
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
        has runc || die "this host has cgroup v1, where podman needs runc: run \`apt-get install runc\`"
        runtime='runtime = "runc"'
    fi
    as_root mkdir -p -m 0700 "$state" "$(dirname "$podman_socket")"
    processes=$(sed -n 's/^Max processes *[^ ]* *\([^ ]*\).*/\1/p' /proc/self/limits)
    if [ "$processes" = unlimited ]; then processes=-1; fi
    podman_configuration "$processes" "$runtime" | as_root tee "$state/containers.conf" >/dev/null
    launch podman env CONTAINERS_CONF="$state/containers.conf" podman system service --time 0 "unix://$podman_socket"
    await podman "$podman_socket"
}

version_of() {
    answers "$2" || { say "$1 does not answer at $2"; return 1; }
    found=$(as_root curl -fsS -m 5 --unix-socket "$2" http://engine/version | sed -n 's/.*"Version":"\([^"]*\)","Api.*/\1/p')
    say "$1 ${found:-answers} at $2"
}

status() {
    code=0
    if wants docker; then version_of docker "$docker_socket" || code=1; fi
    if wants podman; then version_of podman "$podman_socket" || code=1; fi
    return "$code"
}

stop_one() {
    pid=$(as_root cat "$state/$1.pid" 2>/dev/null) || return 0
    # A recycled pid is not ours: only a process that still carries the engine's name is ended.
    case "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" in
        *"$2"*) say "stopping $1 ($pid)"; as_root kill "$pid" || true ;;
    esac
    as_root rm -f "$state/$1.pid"
}

# Whether FILE gives NAME a whole range of ids.
has_ids() { awk -F: -v name="$2" '$1 == name && $3 >= 65536 { found = 1 } END { exit !found }' "$1" 2>/dev/null; }

# The first id behind every range that is given already.
free_ids() { awk -F: 'BEGIN { end = 100000 } $2 + $3 > end { end = $2 + $3 } END { print end }' /etc/subuid /etc/subgid; }

make_user() {
    name=$1
    case "$name" in ''|-*|*[!a-z0-9_-]*) die "\`$name\` is no name of a user: small letters, digits, - and _" ;; esac
    has newuidmap || die "rootless podman needs newuidmap: run \`scripts/engines.sh install podman\`"
    if ! id "$name" >/dev/null 2>&1; then
        say "making the user $name"
        as_root useradd --create-home --shell /bin/sh "$name"
    fi
    as_root touch /etc/subuid /etc/subgid
    if ! has_ids /etc/subuid "$name" || ! has_ids /etc/subgid "$name"; then
        first=$(free_ids)
        as_root usermod --add-subuids "$first-$((first + 65535))" --add-subgids "$first-$((first + 65535))" "$name"
    fi
    [ "$(id -u "$name")" -ne 0 ] || die "$name is root"
}

verb=${1:-}
if [ "$verb" = user ]; then what=podman; make_user "${2:-loki-test}"; exit 0; fi
what=${2:-all}
case "$what" in docker|podman|all) ;; *) die "\`$what\` is no engine: docker, podman or all" ;; esac
case "$verb" in
    install) install_packages ;;
    start)
        if wants docker; then start_docker; fi
        if wants podman; then start_podman; fi
        status ;;
    stop)
        if wants docker; then stop_one docker dockerd; fi
        if wants podman; then stop_one podman 'system service'; fi ;;
    status) status ;;
    *) die "usage: scripts/engines.sh install|start|stop|status [docker|podman|all], or user [NAME]" ;;
esac
