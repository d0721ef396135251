# shellcheck shell=bash
# The Docker Engine that builds images and runs the Kubernetes nodes: Docker 29 with containerd's image store, in the
# machine's own network namespace. An engine that already answers is used and left alone if it is new enough.

HOST=host # the owner name of its process
HOST_SOCKET=/var/run/docker.sock
HOST_DIR=$STATE/host
ENGINE_OLDEST_API=1.50

# host_docker ARGUMENT... : a docker client that is new enough, for the engine of the bed
host_docker() { PATH=$STATE/bin:$PATH docker "$@"; }

# shellcheck disable=SC2120 # arguments are for wait_until's benefit
engine_answers() { host_docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; } # OLDEST VERSION

# found_engine : prints the version of an engine that answers and that is not ours
found_engine() {
    local api
    alive "$HOST" dockerd && return 1
    api=$(host_docker version --format '{{.Server.APIVersion}}' 2>/dev/null) || return 1
    at_least "$ENGINE_OLDEST_API" "$api" ||
        die "the Docker Engine that answers (${DOCKER_HOST:-$HOST_SOCKET}) speaks API $api, which is older than" \
            "$ENGINE_OLDEST_API: stop it, or point DOCKER_HOST at a newer one"
    host_docker version --format '{{.Server.Version}}'
}

# docker_cli_needed : true when the machine has no client, or one that Docker 29 refuses
docker_cli_needed() {
    local api
    [[ -x $DOCKER_CLI/docker ]] && return 0
    api=$(PATH=${PATH//"$STATE/bin:"/} docker version --format '{{.Client.APIVersion}}' 2>/dev/null) || true
    [[ -z $api ]] || ! at_least "$DOCKER_CLI_OLDEST_API" "$api"
}

# engine_programs FOLDER : what a dockerd of version 29 looks for on its PATH, runc with the wrapper in front
engine_programs() {
    mkdir -p "$1"
    ln -sf "$CONTAINERD"/{containerd,containerd-shim-runc-v2,ctr} "$MOBY"/{dockerd,docker-proxy} "$1/"
    ln -sf "$RUNC/runc" "$1/runc.real"
    ln -sf "$TINI/docker-init" "$1/docker-init"
    cmp -s "$1/runc" "$TESTBED_DIR/node/runc" || write "$1/runc" 755 <"$TESTBED_DIR/node/runc"
}

host_engine_up() {
    local version
    if version=$(found_engine); then
        say "Docker Engine: $version is running already, used as it is"
        return 0
    fi
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
    if alive "$HOST" dockerd && engine_answers; then return 0; fi

    say "Docker Engine: starting"
    stop_process "$HOST" dockerd 15
    stop_leftovers "$HOST" "$RUN/$HOST/exec"
    mkdir -p "$HOST_DIR/docker" "$RUN/$HOST"
    [[ -e $HOST_DIR/forward-policy ]] || iptables -S FORWARD | awk '$1 == "-P" {print $3}' >"$HOST_DIR/forward-policy"
    engine_programs "$STATE/engine"
    dockerd_config "$HOST" | write "$HOST_DIR/daemon.json"
    rm -f -- "$RUN/$HOST/docker.pid"
    start_process "$HOST" dockerd '' env "PATH=$STATE/engine:$DAEMON_PATH" dockerd \
        --config-file "$HOST_DIR/daemon.json" --data-root "$HOST_DIR/docker" \
        --exec-root "$RUN/$HOST/exec" --pidfile "$RUN/$HOST/docker.pid" --host "unix://$HOST_SOCKET"
    await "$HOST" dockerd 40 "Docker Engine does not answer" engine_answers
}

host_engine_down() {
    [[ -e $PROCS/$HOST/dockerd || -d $HOST_DIR ]] || return 0
    say "stopping our Docker Engine"
    local ids docker=(host_docker -H "unix://$HOST_SOCKET")
    if alive "$HOST" dockerd; then
        ids=$("${docker[@]}" ps -aq) || ids=
        # shellcheck disable=SC2086 # a list of ids
        [[ -z $ids ]] || "${docker[@]}" rm -fv $ids >/dev/null 2>&1 || true
        "${docker[@]}" network prune -f >/dev/null 2>&1 || true
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
    local table line program
    local -a words
    for program in iptables ip6tables; do
        for table in filter nat raw; do
            # Rules first, in their own order, then the chains they are in.
            while read -r line; do
                read -ra words <<<"$line"
                "$program" -w -t "$table" "${words[@]}" 2>/dev/null || true
            done < <("$program" -t "$table" -S 2>/dev/null | grep -E 'DOCKER|docker0' | sed -n 's/^-A/-D/p')
            for line in $("$program" -t "$table" -S 2>/dev/null | awk '$1 == "-N" && $2 ~ /^DOCKER/ {print $2}'); do
                "$program" -w -t "$table" -F "$line" 2>/dev/null || true
            done
            for line in $("$program" -t "$table" -S 2>/dev/null | awk '$1 == "-N" && $2 ~ /^DOCKER/ {print $2}'); do
                "$program" -w -t "$table" -X "$line" 2>/dev/null || true
            done
        done
    done
    ip link delete docker0 2>/dev/null || true
    [[ ! -s $HOST_DIR/forward-policy ]] || iptables -P FORWARD "$(cat "$HOST_DIR/forward-policy")"
}

# dockerd_config OWNER : settings that every engine of the bed has
dockerd_config() {
    jq -n --arg parent "/$MARK/$1" '{
        "log-level": "warn",
        "log-opts": {"max-size": "5m", "max-file": "2"},
        "cgroup-parent": $parent,
        "shutdown-timeout": 3,
        "insecure-registries": ["10.123.0.0/16"]
    }'
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
    # dockerd would wait for that one: a killed process that is not reaped yet still has its pid.
    rm -f -- "$2/containerd/containerd.pid"
}

# unmount_below FOLDER... : everything that is mounted on it or in it, last mounted first
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
