# shellcheck shell=bash
# The Docker Engine that builds images. One that already answers is used and never touched; otherwise we run our own,
# with its data under the bed's own folder, on the default socket.

HOST=host                       # the owner name of its process
HOST_SOCKET=/var/run/docker.sock
HOST_DIR=$STATE/host

# shellcheck disable=SC2120 # arguments are for wait_until's benefit
engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

host_engine_up() {
    # DOCKER_HOST of the caller counts: it says which engine their tools talk to.
    if ! alive "$HOST" dockerd && engine_answers; then
        say "Docker Engine: one is running already ($(docker version --format '{{.Server.Version}}')), used as it is"
        return 0
    fi
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    if alive "$HOST" dockerd && engine_answers; then return 0; fi

    say "Docker Engine: starting"
    stop_process "$HOST" dockerd 15
    mkdir -p "$HOST_DIR/docker" "$RUN/$HOST"
    runtime_wrapper
    dockerd_config "$HOST" "$HOST_DIR" | write "$HOST_DIR/daemon.json"
    rm -f -- "$RUN/$HOST/docker.pid"
    start_process "$HOST" dockerd '' dockerd \
        --config-file "$HOST_DIR/daemon.json" --data-root "$HOST_DIR/docker" \
        --exec-root "$RUN/$HOST/exec" --pidfile "$RUN/$HOST/docker.pid" --host "unix://$HOST_SOCKET"
    wait_until 40 engine_answers || process_failed "$HOST" dockerd "Docker Engine does not answer"
}

host_engine_down() {
    [[ -e $PROCS/$HOST/dockerd || -d $HOST_DIR ]] || return 0
    say "stopping our Docker Engine"
    local ours=
    alive "$HOST" dockerd && ours=yes
    stop_process "$HOST" dockerd 20
    stop_leftovers "$RUN/$HOST/exec"
    [[ -n $ours ]] && rm -f -- "$HOST_SOCKET"
    unmount_below "$HOST_DIR" "$RUN/$HOST"
    rm -rf -- "$HOST_DIR" "${RUN:?}/$HOST"
}

# dockerd_config OWNER FOLDER : settings that every engine of the bed has
dockerd_config() {
    local wrapper='{}'
    if oom_score_is_locked; then
        wrapper='{"runtimes": {"runc-testbed": {"path": "'$STATE'/runc-testbed"}}, "default-runtime": "runc-testbed"}'
    fi
    # Before version 25 the daemon's ID is in a file in /etc, which two daemons would share; only those know the setting.
    local key='{}'
    if [[ $(dockerd --version) =~ version\ (1[0-9]|2[0-4])\. ]]; then key='{"deprecated-key-path": "'$2'/key.json"}'; fi
    jq -n --argjson wrapper "$wrapper" --argjson key "$key" --arg parent "/$MARK/$1" '{
        "log-level": "warn",
        "log-opts": {"max-size": "5m", "max-file": "2"},
        "cgroup-parent": $parent,
        "oom-score-adjust": 0,
        "shutdown-timeout": 3
    } + $wrapper + $key'
}

# Lowering oom_score_adj needs CAP_SYS_RESOURCE, which some sandboxes do not give even to root. runc then dies with
# "can't get final child's PID from pipe: EOF" on every pod sandbox, as those ask for -998.
oom_score_is_locked() { ! (echo -998 >/proc/self/oom_score_adj) 2>/dev/null; }

runtime_wrapper() {
    write "$STATE/runc-testbed" 755 <<'WRAPPER'
#!/bin/sh
# runc where oom_score_adj cannot be lowered: asks for 0 instead of a negative one.
previous=
for argument; do
    if [ "$previous" = --bundle ] && grep -q '"oomScoreAdj":-' "$argument/config.json"; then
        sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$argument/config.json"
    fi
    previous=$argument
done
exec runc "$@"
WRAPPER
}

# stop_leftovers EXEC_ROOT : the containerd and the shims of an engine that was killed and could not stop them itself.
# They are known by the engine's own folder in their arguments.
stop_leftovers() {
    local proc pid
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        if tr '\0' ' ' 2>/dev/null <"$proc/cmdline" | grep -qF -- "$1/"; then
            case $(cat "$proc/comm" 2>/dev/null) in
                containerd | containerd-shim*) kill -KILL "$pid" 2>/dev/null || true ;;
            esac
        fi
    done
}

# unmount_below FOLDER... : whatever is mounted there, deepest first
unmount_below() {
    local folder point
    for folder; do
        [[ -e $folder ]] || continue
        awk -v dir="$folder/" 'index($5, dir) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r point; do
            umount -- "$(printf '%b' "$point")" 2>/dev/null || umount -l -- "$(printf '%b' "$point")" 2>/dev/null || true
        done
    done
}
