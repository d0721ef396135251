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
    kubeconfig_written
    wait_until 60 cluster_ready || die "the nodes of cluster $PROFILE are not ready (kubectl --kubeconfig $KUBECONFIG_FILE get nodes)"
}

cluster_ready() {
    [[ $(bed_kubectl get nodes -o 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}') == "True True " ]]
}

# kubeconfig_written : kind's context kind-PROFILE, and another one with the profile's name, which is the current one
kubeconfig_written() {
    local kubectl=("$KUBERNETES/kubectl" --kubeconfig "$KUBECONFIG_FILE")
    logged cluster bed_kind export kubeconfig --name "$PROFILE" --kubeconfig "$KUBECONFIG_FILE"
    logged cluster "${kubectl[@]}" config set-context "$PROFILE" "--cluster=kind-$PROFILE" "--user=kind-$PROFILE"
    logged cluster "${kubectl[@]}" config use-context "$PROFILE"
}

cluster_deleted() {
    logged cluster bed_kind delete cluster --name "$PROFILE" --kubeconfig "$KUBECONFIG_FILE"
}
