# shellcheck shell=bash
# The life of a node: up, stopped, deleted. The first one, named like the profile, carries the control plane; another one,
# which minikube would call m02, is PROFILE-m02 and has only dockerd, kubelet and kube-proxy.

# node_names : the nodes that this bed has, the first one first
node_names() {
    local dir
    for dir in "$STATE"/nodes/*/; do
        [[ -e $dir/number ]] && printf '%s %s\n' "$(cat "$dir/number")" "$(basename "$dir")"
    done | sort -n | cut -d' ' -f2
}

node_number() { cat "$(node_dir "$1")/number"; }

# node_declared NAME : gives a new node its number; starting it is cluster_up's work
node_declared() {
    local number=0
    [[ -e $(node_dir "$1")/number ]] && return 0
    while grep -qsx "$number" "$STATE"/nodes/*/number; do number=$((number + 1)); done
    echo "$number" | write "$(node_dir "$1")/number"
}

# cluster_up : every node of the bed, running and Ready
cluster_up() {
    local name
    node_declared "$PROFILE"
    authority

    forget_lost_cluster
    for name in $(node_names); do
        network_up "$name" "$(node_number "$name")"
    done
    pod_routes "$(node_names | wc -l)" "$STATE"/nodes/*/number
    running_everything || say "node: starting $(node_names | tr '\n' ' ')"
    for name in $(node_names); do node_engine_started "$name" "$(node_number "$name")"; done
    control_plane_started "$PROFILE"
    for name in $(node_names); do
        node_engine_ready "$name"
        node_images_loaded "$name"
        worker_started "$name" "$(node_number "$name")"
    done
    cluster_services_started
    control_plane_ready "$PROFILE"
    addons
    for name in $(node_names); do
        await "$name" kubelet 60 "node $name does not become Ready" node_is_ready "$name"
    done
    wait_until 30 kubectl_bed get serviceaccount default || die "the controller manager makes no service accounts"
    cp -f "$(node_dir "$PROFILE")/kubeconfig" "$STATE/kubeconfig.new"
    mv -f "$STATE/kubeconfig.new" "$STATE/kubeconfig"
}

running_everything() {
    local name part
    for name in $(node_names); do
        for part in dockerd kubelet proxy; do alive "$name" "$part" || return 1; done
    done
    for part in etcd apiserver controller-manager scheduler dns storage; do
        alive "$PROFILE" "$part" || return 1
    done
}

kubectl_bed() {
    "$STATE/bin/kubectl" --kubeconfig "$(node_dir "$PROFILE")/kubeconfig" --cache-dir "$STATE/kubectl-cache" "$@"
}

node_is_ready() {
    [[ $(kubectl_bed get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

# DNS and storage are Python and read the API; they outlive its restarts.
cluster_services_started() {
    local upstream
    upstream=$(resolvers | paste -sd, -)
    [[ -n $upstream ]] || say "warning: no name server of this machine can be reached from a node"
    ensure_process "$PROFILE" dns "$PROFILE" /usr/bin/python3 -B "$TESTBED_DIR/services/dns.py" \
        "server=$(api_server)" "pki=$PKI" "listen=$(node_ip 0)" "upstream=$upstream"
    ensure_process "$PROFILE" storage "$PROFILE" /usr/bin/python3 -B "$TESTBED_DIR/services/storage.py" \
        "server=$(api_server)" "pki=$PKI" "volumes=$(node_dir "$PROFILE")/volumes"
}

# What minikube has from its first start on: a default storage class. Marks the cluster as whole
# afterwards, so that a start which was cut off does it again.
addons() {
    [[ -e $(node_dir "$PROFILE")/cluster-exists ]] && return 0
    logged addons wait_until 20 storage_class
    touch "$(node_dir "$PROFILE")/cluster-exists"
}

storage_class() {
    kubectl_bed apply -f - <<'YAML'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations:
    storageclass.kubernetes.io/is-default-class: "true"
provisioner: k8s.io/minikube-hostpath
reclaimPolicy: Delete
volumeBindingMode: Immediate
YAML
}

# cluster_stopped : every process of every node; data stays
cluster_stopped() {
    local name
    for name in $(node_names); do worker_stopped "$name"; done
    stop_processes "$PROFILE" 2 dns storage
    control_plane_stopped "$PROFILE"
    for name in $(node_names); do
        containers_stopped "$name" 2
        stop_process "$name" dockerd 20
        stop_leftovers "$name" "$(node_run "$name")/exec"
    done
}

# cluster_deleted : nothing of it is left but certificates and logs
cluster_deleted() {
    local name
    for name in $(node_names); do
        worker_stopped "$name"
        containers_stopped "$name" 0
    done
    cluster_stopped
    for name in $(node_names); do node_removed "$name"; done
}

# node_removed NAME : all that a stopped node has
node_removed() {
    local number
    number=$(node_number "$1")
    network_down "$1" "$number"
    unmount_below "$(node_dir "$1")" "$(node_run "$1")"
    cgroup_removed "$MARK/$1"
    rm -rf -- "$RUN/cni/$number" "$(node_dir "$1")" "$(node_run "$1")" "${PROCS:?}/$1"
}

# node_deleted NAME : one that is not the first, out of a running cluster
node_deleted() {
    # The node first, or a DaemonSet would put new pods on it.
    kubectl_bed delete node "$1" --ignore-not-found
    kubectl_bed delete pods -A --field-selector "spec.nodeName=$1" --force --grace-period=0
    worker_stopped "$1"
    containers_stopped "$1" 0
    stop_process "$1" dockerd 10
    stop_leftovers "$1" "$(node_run "$1")/exec"
    node_removed "$1"
    pod_routes "$(node_names | wc -l)" "$STATE"/nodes/*/number
}

# containers_stopped NAME SECONDS : all of a node whose kubelet, which would start them again, is stopped. TERM, and KILL
# after so long; dockerd itself would wait 10 seconds for what does not listen to TERM.
containers_stopped() {
    local ids
    alive "$1" dockerd || return 0
    ids=$(node_docker "$1" ps -q 2>/dev/null) || return 0
    # shellcheck disable=SC2086 # a list of ids
    [[ -z $ids ]] || node_docker "$1" stop --time "$2" $ids >/dev/null 2>&1 || true
}

# forget_lost_cluster : etcd's data is gone (a machine that was restarted) though there was a cluster: its containers and
# volumes belong to nobody now. Images stay.
forget_lost_cluster() {
    local name dir
    [[ -e $(node_dir "$PROFILE")/cluster-exists && ! -d $(node_dir "$PROFILE")/etcd/data/member ]] || return 0
    say "the cluster's data is gone (was the machine restarted?): making a new one"
    cluster_stopped
    for name in $(node_names); do
        dir=$(node_dir "$name")
        unmount_below "$dir" "$(node_run "$name")"
        rm -rf -- "$dir/kubelet" "$dir/volumes" "$dir/docker/containers" "$RUN/cni/$(node_number "$name")"
    done
    rm -f -- "$(node_dir "$PROFILE")/cluster-exists"
}
