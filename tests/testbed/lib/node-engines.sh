# shellcheck shell=bash
# Engines with the classic image store, as nodes with the docker runtime have them: Debian's Docker 20.10, and Docker 29.
# Each is in a network namespace of its own (two in one do not get along), on a unix socket for us and with TLS on port
# 2376, as minikube's is. No kubelet runs there.

# Name, number of its namespace
ENGINE20=docker20 ENGINE20_NUMBER=0
ENGINE29=docker29 ENGINE29_NUMBER=1

NODE_CERTS=$STATE/certs # for DOCKER_CERT_PATH of a client of either

engine_run() { echo "$RUN/$1"; }
node_docker() { host_docker -H "unix://$RUN/$1/docker.sock" "${@:2}"; } # ENGINE ARGUMENT...

# node_engines_started : starts both; does not wait
node_engines_started() {
    certificate docker-client /CN=stack-testbed client
    mkdir -p "$NODE_CERTS"
    # The three files that a Docker client looks for in DOCKER_CERT_PATH.
    cp -f "$PKI/ca.crt" "$NODE_CERTS/ca.pem"
    cp -f "$PKI/docker-client.crt" "$NODE_CERTS/cert.pem"
    cp -f "$PKI/docker-client.key" "$NODE_CERTS/key.pem"
    engine_programs "$STATE/engine"
    node_engine_started "$ENGINE20" "$ENGINE20_NUMBER" "PATH=$DOCKER20/bin:$DAEMON_PATH" "LD_LIBRARY_PATH=$DOCKER20/lib"
    node_engine_started "$ENGINE29" "$ENGINE29_NUMBER" "PATH=$STATE/engine:$DAEMON_PATH"
}

# node_engines_ready : waits for both, and gives them base images
node_engines_ready() {
    node_engine_ready "$ENGINE20"
    node_engine_ready "$ENGINE29"
}

# node_engine_started NAME NUMBER ENVIRONMENT... : starts it; does not wait
node_engine_started() {
    local name=$1 number=$2 dir=$STATE/$1 run=$RUN/$1 ip
    shift 2
    namespace_up "$name" "$number"
    alive "$name" dockerd && return 0
    ip=$(namespace_ip "$number")
    mkdir -p "$dir/docker" "$run"
    stop_leftovers "$name" "$run/exec"
    certificate "$name" "/CN=$name" server "IP:$ip,IP:127.0.0.1,DNS:localhost,DNS:$name"
    dockerd_config "$name" | jq --arg pki "$PKI" --arg name "$name" --arg dir "$dir" '. + {
        "tlsverify": true, "tlscacert": "\($pki)/ca.crt",
        "tlscert": "\($pki)/\($name).crt", "tlskey": "\($pki)/\($name).key"
    } + if $name == "'"$ENGINE20"'" then
        # Before version 25 the daemon has its ID in a file in /etc, which two daemons would share.
        {"deprecated-key-path": "\($dir)/key.json"}
    else {"features": {"containerd-snapshotter": false}, "storage-driver": "overlay2"} end' | write "$dir/daemon.json"
    rm -f -- "$run/docker.pid"
    start_process "$name" dockerd "$name" env "$@" dockerd \
        --config-file "$dir/daemon.json" --data-root "$dir/docker" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        --host "unix://$run/docker.sock" --host "tcp://$ip:2376"
}

node_engine_ready() {
    local tag folder
    await "$1" dockerd 40 "the engine $1 does not answer" node_docker "$1" version
    while read -r tag folder; do
        [[ $tag == "$IMAGE_NODE" ]] || load_image "$tag" "$folder" node_docker "$1" >/dev/null
    done < <(base_images)
}

node_engines_down() {
    local name
    for name in "$ENGINE20" "$ENGINE29"; do
        [[ -e $PROCS/$name/dockerd || -d $STATE/$name ]] || continue
        stop_process "$name" dockerd 10
        stop_leftovers "$name" "$RUN/$name/exec"
        unmount_below "$STATE/$name" "$RUN/$name"
        rm -rf -- "${STATE:?}/$name" "${RUN:?}/$name"
    done
    namespace_down "$ENGINE20" "$ENGINE20_NUMBER"
    namespace_down "$ENGINE29" "$ENGINE29_NUMBER"
}
