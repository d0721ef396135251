# shellcheck shell=bash
# Starts and stops the bed's processes by exact identity: a pid together with the moment that process began,
# so that a pid which the kernel has given to another process since is never signalled.

PROCS=$RUN/procs
DAEMON_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# started_at PID : field 22 of /proc/PID/stat (clock ticks since boot); fails when there is none, or only a zombie
started_at() {
    local line
    local -a field
    read -r line 2>/dev/null <"/proc/$1/stat" || return 1
    # The command's name, in parentheses, may hold spaces: count from behind it.
    read -ra field <<<"${line##*) }"
    [[ ${field[0]} != Z ]] && printf '%s' "${field[19]}"
}

# pid_of OWNER NAME : its pid, if that very process is alive. Also tells OWNER/NAME from a reused pid.
pid_of() {
    local pid start now
    read -r pid start 2>/dev/null <"$PROCS/$1/$2" || return 1
    now=$(started_at "$pid") || return 1
    [[ $now == "$start" ]] && printf '%s' "$pid"
}

alive() { pid_of "$1" "$2" >/dev/null; }

# start_process OWNER NAME NETNS COMMAND... : in the background, in its own session, in network namespace NETNS
# ('' for the host's), its output appended to OWNER-NAME.log
start_process() {
    local owner=$1 name=$2 netns=$3 pid
    local -a enter=()
    shift 3
    # nsenter, not `ip netns exec`: that one remounts /sys and hides the cgroups from dockerd.
    [[ -n $netns ]] && enter=(nsenter "--net=/run/netns/$netns" --)
    mkdir -p "$PROCS/$owner" "$LOGS"
    # A clean environment: nothing of the caller's (proxies, tokens, KUBECONFIG) reaches a daemon by accident.
    # `9>&-`: a daemon must not hold our lock.
    setsid "${enter[@]}" env -i "PATH=$DAEMON_PATH" HOME=/root LC_ALL=C.UTF-8 "$@" \
        </dev/null >>"$LOGS/$owner-$name.log" 2>&1 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(started_at "$pid" || echo gone)" >"$PROCS/$owner/$name"
    disown "$pid"
}

# ensure_process OWNER NAME NETNS COMMAND... : starts it unless it runs
ensure_process() {
    alive "$1" "$2" || start_process "$@"
}

# stop_processes OWNER SECONDS NAME... : TERM to all at once, then KILL to what is still there after SECONDS
stop_processes() {
    local owner=$1 patience=$2 name pid
    shift 2
    for name; do
        if pid=$(pid_of "$owner" "$name"); then kill -TERM "$pid" 2>/dev/null || true; fi
    done
    wait_until "$patience" gone "$owner" "$@" || true
    for name; do
        if pid=$(pid_of "$owner" "$name"); then kill -KILL "$pid" 2>/dev/null || true; fi
        wait_until 5 gone "$owner" "$name" || say "$owner/$name (pid $pid) does not go away"
        rm -f -- "$PROCS/$owner/$name"
    done
}

# stop_process OWNER NAME SECONDS
stop_process() { stop_processes "$1" "$3" "$2"; }

# gone OWNER NAME... : none of them runs
gone() {
    local owner=$1 name
    shift
    for name; do
        if alive "$owner" "$name"; then return 1; fi
    done
}

# await OWNER NAME SECONDS WHAT COMMAND... : until the command succeeds. Ends everything, with the process's log and WHAT,
# when that takes longer or when the process has ended.
await() {
    local owner=$1 name=$2 patience=$3 what=$4 done
    shift 4
    if wait_until "$patience" settled "$owner" "$name" "$@"; then
        [[ $done == well ]] && return 0
        what="$what: it has ended"
    fi
    show_log "$LOGS/$owner-$name.log"
    die "$what"
}

# settled OWNER NAME COMMAND... : sets `done` of await
settled() {
    local owner=$1 name=$2
    shift 2
    if "$@"; then done=well; elif gone "$owner" "$name"; then done=badly; else return 1; fi
}
