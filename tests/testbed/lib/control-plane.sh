# shellcheck shell=bash
# etcd, API server, controller manager and scheduler: processes in the first node's namespace.

API_PORT=8443

# The address is the node's, from everywhere: certificates and kubeconfig are the same inside and outside.
api_server() { echo "https://$(node_ip 0):$API_PORT"; }

# control_plane_started NAME : starts what does not run; does not wait
control_plane_started() {
    local name=$1 dir
    dir=$(node_dir "$name")
    authority
    service_account_key
    certificate apiserver /CN=kube-apiserver server \
        "IP:$(node_ip 0),IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate apiserver-to-kubelet /O=system:masters/CN=kube-apiserver client
    certificate admin "/O=system:masters/CN=$PROFILE" client
    kubeconfig "$(api_server)" | write "$dir/kubeconfig" 600

    etcd_folder "$dir"
    ensure_process "$name" etcd "$name" "$ETCD/etcd" \
        --name "$name" --data-dir "$dir/etcd/data" --log-level warn --logger zap \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380 \
        --auto-compaction-retention 10m --quota-backend-bytes 536870912 --snapshot-count 5000
    ensure_process "$name" apiserver "$name" "$KUBERNETES/kube-apiserver" \
        --etcd-servers=http://127.0.0.1:2379 \
        --bind-address=0.0.0.0 --advertise-address="$(node_ip 0)" --secure-port="$API_PORT" \
        --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
        --client-ca-file="$PKI/ca.crt" --authorization-mode=RBAC --anonymous-auth=true \
        --kubelet-client-certificate="$PKI/apiserver-to-kubelet.crt" \
        --kubelet-client-key="$PKI/apiserver-to-kubelet.key" --kubelet-preferred-address-types=InternalIP \
        --service-cluster-ip-range="$SERVICES_CIDR" --allow-privileged=true \
        --service-account-key-file="$PKI/sa.key" --service-account-signing-key-file="$PKI/sa.key" \
        --service-account-issuer=https://kubernetes.default.svc --profiling=false --event-ttl=1h
    ensure_process "$name" controller-manager "$name" "$KUBERNETES/kube-controller-manager" \
        --kubeconfig="$dir/kubeconfig" --leader-elect=false --bind-address=127.0.0.1 --profiling=false \
        --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt" \
        --flex-volume-plugin-dir="$dir/volume-plugins" \
        --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
        --service-cluster-ip-range="$SERVICES_CIDR" --kube-api-qps=100 --kube-api-burst=200
    ensure_process "$name" scheduler "$name" "$KUBERNETES/kube-scheduler" \
        --kubeconfig="$dir/kubeconfig" --leader-elect=false --bind-address=127.0.0.1 --profiling=false
}

# etcd_folder NODE_DIR : on a tmpfs of its own. etcd 3.4 cannot be told not to fsync, which costs 3 ms for each write on
# a disk; a cluster that is lost when the machine restarts is made again.
etcd_folder() {
    mkdir -p "$1/etcd"
    mountpoint -q "$1/etcd" || mount -t tmpfs -o size=768m,mode=700 stack-testbed-etcd "$1/etcd"
}

api_ready() { kubectl_bed get --raw /readyz; }

control_plane_ready() {
    await "$1" apiserver 60 "the API server does not become ready" api_ready
}

# The API server would wait a minute for open watches; etcd goes last, after everything was written.
control_plane_stopped() {
    stop_processes "$1" 2 scheduler controller-manager apiserver
    stop_process "$1" etcd 5
}
