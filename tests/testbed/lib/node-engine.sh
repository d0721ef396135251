# shellcheck shell=bash
# A node's own Docker daemon: another image store than the one that builds, in another network namespace.
# On its unix socket for us, and with TLS on port 2376 for everybody, as minikube's is.

node_dir() { echo "$STATE/nodes/$1"; }
node_run() { echo "$RUN/nodes/$1"; }
node_docker() { docker -H "unix://$RUN/nodes/$1/docker.sock" "${@:2}"; }

# node_engine_started NAME NUMBER : starts it; does not wait
node_engine_started() {
    local name=$1 number=$2 dir run ip
    alive "$name" dockerd && return 0
    dir=$(node_dir "$name") run=$(node_run "$name") ip=$(node_ip "$number")
    mkdir -p "$dir/docker" "$dir/certs" "$run"
    stop_leftovers "$name" "$run/exec"
    certificate "docker-$name" "/CN=$name" docker-server "IP:$ip,IP:127.0.0.1,DNS:localhost,DNS:$name"
    certificate docker-client /CN=stack-testbed docker-client
    # The three files that a Docker client looks for in DOCKER_CERT_PATH.
    cp -f "$PKI/ca.crt" "$dir/certs/ca.pem"
    cp -f "$PKI/docker-client.crt" "$dir/certs/cert.pem"
    cp -f "$PKI/docker-client.key" "$dir/certs/key.pem"
    runtime_wrapper
    dockerd_config "$name" "$dir" | jq --arg pki "$PKI" --arg name "docker-$name" '. + {
        "tlsverify": true, "tlscacert": "\($pki)/ca.crt",
        "tlscert": "\($pki)/\($name).crt", "tlskey": "\($pki)/\($name).key",
        "insecure-registries": ["10.96.0.0/12"]
    }' | write "$dir/daemon.json"
    rm -f -- "$run/docker.pid"
    start_process "$name" dockerd "$name" dockerd \
        --config-file "$dir/daemon.json" --data-root "$dir/docker" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        --host "unix://$run/docker.sock" --host "tcp://$ip:2376"
}

node_engine_ready() {
    await "$1" dockerd 40 "the Docker daemon of node $1 does not answer" node_docker "$1" version
}

node_images_loaded() {
    local item
    for item in "$IMAGE_PAUSE $IMAGES_PAUSE" "$IMAGE_BUSYBOX $IMAGES_BUSYBOX" "$IMAGE_DEBIAN $IMAGES_DEBIAN"; do
        # shellcheck disable=SC2086 # two words
        set -- "$1" $item
        load_image "$2" "$3" docker -H "unix://$(node_run "$1")/docker.sock" >/dev/null
    done
}
