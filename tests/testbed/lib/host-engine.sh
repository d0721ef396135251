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
    stop_leftovers "$HOST" "$RUN/$HOST/exec"
    mkdir -p "$HOST_DIR/docker" "$RUN/$HOST"
    [[ -e $HOST_DIR/forward-policy ]] || iptables -S FORWARD | awk '$1 == "-P" {print $3}' >"$HOST_DIR/forward-policy"
    runtime_wrapper
    dockerd_config "$HOST" "$HOST_DIR" | write "$HOST_DIR/daemon.json"
    rm -f -- "$RUN/$HOST/docker.pid"
    start_process "$HOST" dockerd '' dockerd \
        --config-file "$HOST_DIR/daemon.json" --data-root "$HOST_DIR/docker" \
        --exec-root "$RUN/$HOST/exec" --pidfile "$RUN/$HOST/docker.pid" --host "unix://$HOST_SOCKET"
    await "$HOST" dockerd 40 "Docker Engine does not answer" engine_answers
}

host_engine_down() {
    [[ -e $PROCS/$HOST/dockerd || -d $HOST_DIR ]] || return 0
    say "stopping our Docker Engine"
    local ids
    if alive "$HOST" dockerd; then
        ids=$(docker -H "unix://$HOST_SOCKET" ps -q) || ids=
        # shellcheck disable=SC2086 # a list of ids
        [[ -z $ids ]] || docker -H "unix://$HOST_SOCKET" rm -f $ids >/dev/null 2>&1 || true
        docker -H "unix://$HOST_SOCKET" network prune -f >/dev/null 2>&1 || true
        stop_process "$HOST" dockerd 10
        rm -f -- "$HOST_SOCKET"
    fi
    stop_leftovers "$HOST" "$RUN/$HOST/exec"
    engine_network_removed
    unmount_below "$HOST_DIR" "$RUN/$HOST"
    rm -rf -- "$HOST_DIR" "${RUN:?}/$HOST"
}

# engine_network_removed : the bridge and the rules that dockerd leaves behind when it ends
engine_network_removed() {
    local table line
    local -a words
    for table in filter nat; do
        # Rules first, in their own order, then the chains they are in.
        while read -r line; do
            read -ra words <<<"$line"
            iptables -w -t "$table" "${words[@]}" 2>/dev/null || true
        done < <(iptables -t "$table" -S | grep -E 'DOCKER|docker0' | sed -n 's/^-A/-D/p')
        for line in $(iptables -t "$table" -S | awk '$1 == "-N" && $2 ~ /^DOCKER/ {print $2}'); do
            iptables -w -t "$table" -F "$line" && iptables -w -t "$table" -X "$line" || true
        done
    done
    ip link delete docker0 2>/dev/null || true
    [[ ! -s $HOST_DIR/forward-policy ]] || iptables -P FORWARD "$(cat "$HOST_DIR/forward-policy")"
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

# stop_leftovers OWNER EXEC_ROOT : what an engine that was killed could not stop itself: the processes in its containers,
# known by their cgroup, and its containerd and shims, known by its folder in their arguments.
stop_leftovers() {
    local proc pid name
    cgroup_killed "$MARK/$1"
    for proc in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$proc/comm" || continue
        [[ $name == containerd* ]] || continue
        pid=${proc#/proc/}
        if tr '\0' ' ' 2>/dev/null <"$proc/cmdline" | grep -qF -- "$2/"; then
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
    # dockerd would wait for that one: a killed process that nobody has reaped yet still has its pid.
    rm -f -- "$2/containerd/containerd.pid"
}

# unmount_below FOLDER... : whatever is mounted on it or in it, last mounted first
unmount_below() {
    local folder point
    for folder; do
        awk -v dir="$folder" '$5 == dir || index($5, dir "/") == 1 {print $5}' /proc/self/mountinfo | tac |
            while read -r point; do
                point=$(printf '%b' "$point") # a space is written as \040
                umount -- "$point" 2>/dev/null || umount -l -- "$point" 2>/dev/null || true
            done
    done
}
