# shellcheck shell=bash
# The Kubernetes cluster: two nodes that kind makes as containers of the host's engine.

KUBECONFIG_FILE=$STATE/kubeconfig
NODES=("$PROFILE-control-plane" "$PROFILE-worker")

bed_kind() { KUBECONFIG=$KUBECONFIG_FILE PATH=$STATE/bin:$PATH kind "$@"; }
bed_kubectl() { "$KUBERNETES/kubectl" --kubeconfig "$KUBECONFIG_FILE" --context "$PROFILE" "$@"; }

# node_address NODE : of its container
node_address() { host_docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' "$1" | awk '{print $1}'; }

node_image_loaded() {
    local loaded
    loaded=$(load_image "$NODE_IMAGE" "$NODE_IMAGES" host_docker)
    [[ $loaded != loaded ]] || say "node image: $NODE_IMAGE loaded into Docker Engine"
}

# cluster_config : what kind is told
cluster_config() {
    cat <<YAML
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
- role: worker
YAML
}

cluster_exists() { bed_kind get clusters 2>/dev/null | grep -qxF -- "$PROFILE"; }

# cluster_up : makes the cluster, or starts the nodes that are there, and waits until both are ready
cluster_up() {
    local node
    if ! cluster_exists; then
        say "cluster: creating $PROFILE"
        cluster_config | write "$STATE/kind.yaml"
        logged cluster bed_kind create cluster --name "$PROFILE" --image "$NODE_IMAGE" --config "$STATE/kind.yaml" \
            --kubeconfig "$KUBECONFIG_FILE"
    else
        for node in "${NODES[@]}"; do
            [[ $(host_docker inspect -f '{{.State.Status}}' "$node") == running ]] && continue
            say "cluster: starting node $node"
            host_docker unpause "$node" >/dev/null 2>&1 || logged cluster host_docker start "$node"
        done
    fi
    unpaused
    kubeconfig_written
    wait_until 60 cluster_ready && return 0
    # Of containers whose processes were killed under the engine, it can still say that they run.
    say "cluster: its nodes are not ready; starting them again"
    logged cluster host_docker restart --timeout 2 "${NODES[@]}"
    kubeconfig_written
    wait_until 60 cluster_ready || die "the nodes of cluster $PROFILE are not ready (kubectl --kubeconfig $KUBECONFIG_FILE get nodes)"
}

cluster_ready() {
    [[ $(bed_kubectl get nodes -o 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}') == "True True " ]]
}

# kubeconfig_written : the bed's own, with kind's context and with the one that has the profile's name
kubeconfig_written() {
    logged cluster bed_kind export kubeconfig --name "$PROFILE" --kubeconfig "$KUBECONFIG_FILE"
    profile_context "$KUBECONFIG_FILE"
}

# profile_context FILE : a cluster, a user and a context that all have the profile's name, and makes that the current one.
# The server is the address that kind has published.
profile_context() {
    local kubectl=("$KUBERNETES/kubectl" --kubeconfig "$1") given work
    work=$(mktemp -d)
    given=$(bed_kind get kubeconfig --name "$PROFILE")
    mkdir -p "$(dirname "$1")"
    given() { "$KUBERNETES/kubectl" --kubeconfig <(echo "$given") config view --raw -o "jsonpath=$1"; }
    given '{.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$work/ca"
    given '{.users[0].user.client-certificate-data}' | base64 -d >"$work/crt"
    given '{.users[0].user.client-key-data}' | base64 -d >"$work/key"
    "${kubectl[@]}" config set-cluster "$PROFILE" "--server=$(given '{.clusters[0].cluster.server}')" \
        --embed-certs --certificate-authority="$work/ca" >/dev/null
    "${kubectl[@]}" config set-credentials "$PROFILE" --embed-certs --client-certificate="$work/crt" \
        --client-key="$work/key" >/dev/null
    "${kubectl[@]}" config set-context "$PROFILE" "--cluster=$PROFILE" "--user=$PROFILE" >/dev/null
    "${kubectl[@]}" config use-context "$PROFILE" >/dev/null
    rm -rf -- "$work"
}

# profile_context_removed FILE : as `minikube stop` does it: the current context goes with it
profile_context_removed() {
    local kubectl=("$KUBERNETES/kubectl" --kubeconfig "$1")
    [[ -e $1 ]] || return 0
    [[ $("${kubectl[@]}" config current-context 2>/dev/null) != "$PROFILE" ]] || "${kubectl[@]}" config unset current-context >/dev/null
    "${kubectl[@]}" config delete-context "$PROFILE" >/dev/null 2>&1 || true
    "${kubectl[@]}" config delete-cluster "$PROFILE" >/dev/null 2>&1 || true
    "${kubectl[@]}" config delete-user "$PROFILE" >/dev/null 2>&1 || true
}

cluster_deleted() {
    logged cluster bed_kind delete cluster --name "$PROFILE" --kubeconfig "$KUBECONFIG_FILE"
}

# system_tasks STATE : what runs for kube-system on the node that this is run on, if it is in that state
SYSTEM_TASKS='for id in $(crictl pods --quiet --namespace kube-system); do
    crictl ps --quiet --pod "$id"; done | while read -r id; do
        ctr -n k8s.io task ls | awk -v id="$id" -v state=STATE "\$1 == id && \$3 == state {print \$1}"; done'

# paused : the nodes' kubelets are stopped and the containers of kube-system are frozen, as `minikube pause` does it
paused() {
    local name
    for name in "${NODES[@]}"; do
        host_docker exec "$name" sh -c "systemctl stop kubelet
            for id in \$(${SYSTEM_TASKS/STATE/RUNNING}); do ctr -n k8s.io task pause \$id; done"
    done
}

# unpaused : undoes it; also waits for the systemd of nodes that have just been started
unpaused() {
    local name
    for name in "${NODES[@]}"; do wait_until 30 resumed "$name" || die "node $name does not answer"; done
}

resumed() { # NODE
    host_docker exec "$1" sh -c "systemctl start kubelet || exit
        for id in \$(ctr -n k8s.io task ls 2>/dev/null | awk '\$3 == \"PAUSED\" {print \$1}'); do
            ctr -n k8s.io task resume \$id; done"
}

# cluster_started : the cluster as `minikube start` leaves it
cluster_started() {
    node_image_loaded
    cluster_up
    bed_written
}
