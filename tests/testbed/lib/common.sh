# shellcheck shell=bash
# What every part of the test bed shares: where things are, how it talks, how it fails.
# Knows nothing about Docker or Kubernetes.

TESTBED_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CHECKOUT=$(cd "$TESTBED_DIR/../.." && pwd -P)

# What must outlive a process: data of daemons and of the cluster, certificates, logs. One bed for each machine.
STATE=/var/lib/stack-testbed
# bed.env describes the bed that is up. `env` and the stand-in minikube read it too, in plain sh.
if [[ -r $STATE/bed.env ]]; then
    # shellcheck disable=SC1091
    . "$STATE/bed.env"
fi
# Heavy things that can be made again: one folder each, named by version. A bed that is there has its programs in the
# cache that it was brought up with, also for a caller with another HOME.
CACHE=${STACK_TESTBED_CACHE:-${BED_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/stack-testbed}}
# What dies with the machine: pids, sockets, locks.
RUN=/run/stack-testbed
LOGS=$STATE/logs

# Raised when beds of two revisions of these scripts could not share a machine.
BED_REVISION=2

MARK=stack-testbed # the comment on our iptables rules, the parent of our cgroups

# A locale of the caller's must not change what tools print; a PATH without sbin must not hide ip and iptables.
export LC_ALL=C.UTF-8
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 022

STARTED_AT=$SECONDS

# say TEXT... : one line on stderr, with the seconds since this command began
say() {
    printf 'testbed %4ds  %s\n' "$((SECONDS - STARTED_AT))" "$*" >&2
}

die() {
    printf 'testbed: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

require_root() {
    [[ $(id -u) == 0 ]] || die "needs root: it makes network namespaces and starts container engines"
}

# logged NAME COMMAND... : runs it with its output in NAME.log; shows the end of that when it fails
logged() {
    local log=$LOGS/$1.log rc=0
    shift
    mkdir -p "$LOGS"
    printf '== %s  %s\n' "$(date -u +%FT%TZ)" "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null || rc=$?
    ((rc == 0)) && return 0
    show_log "$log"
    printf 'testbed: failed (exit code %s): %s\n' "$rc" "$*" >&2
    return "$rc"
}

# show_log FILE : its last lines, for a person who must find out what went wrong
show_log() {
    printf -- '---- the end of %s ----\n' "$1" >&2
    tail -n 25 -- "$1" >&2 || true
    printf -- '----\n' >&2
}

# wait_until SECONDS COMMAND... : tries again and again; false when the time is over
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# cached NAME MAKER : makes the folder $CACHE/NAME unless it is there.
# MAKER is called with an empty folder to fill; only a finished one gets the name.
cached() {
    local name=$1 maker=$2 tmp
    [[ -d $CACHE/$name ]] && return 0
    mkdir -p "$CACHE"
    tmp=$(mktemp -d "$CACHE/.making-$name.XXXXXX") || return
    chmod 755 "$tmp"
    if ! strictly "$maker" "$tmp"; then
        rm -rf -- "$tmp"
        return 1
    fi
    mv -T -- "$tmp" "$CACHE/$name"
}

# strictly FUNCTION ARGUMENT... : in a shell of its own, which ends at the first failure. (`set -e` sleeps in everything
# that is called as a condition, however deep below.)
strictly() {
    bash -euo pipefail -c '. "$1"; shift; "$@"' strictly "$TESTBED_DIR/lib/all.sh" "$@"
}

# lock : one `up`, `down` or `minikube start` at a time on this machine; held on descriptor 9 until we exit
lock() {
    mkdir -p "$RUN"
    while :; do
        exec 9>>"$RUN/lock"
        if ! flock -n 9; then
            say "waiting for another test bed command ($(cat "$RUN/lock.holder" 2>/dev/null || echo unknown))"
            flock 9
        fi
        # A `down` that we waited for has removed the file: hold the new one then, as everybody else will.
        [[ $(stat -Lc %i "/proc/$$/fd/9") == "$(stat -c %i "$RUN/lock" 2>/dev/null)" ]] && break
        mkdir -p "$RUN"
    done
    printf 'pid %s: %s\n' "$$" "${0##*/}" >"$RUN/lock.holder"
}

# write FILE : standard input into FILE, at once and whole
write() {
    local tmp
    mkdir -p "$(dirname "$1")"
    tmp=$(mktemp "$1.XXXXXX")
    cat >"$tmp"
    chmod "${2:-644}" "$tmp"
    mv -f -- "$tmp" "$1"
}
