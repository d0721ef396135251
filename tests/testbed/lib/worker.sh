# shellcheck shell=bash
# kubelet and kube-proxy of a node. The kubelet's built-in Docker driver talks to the node's own daemon.

# worker_started NAME NUMBER : starts what does not run; does not wait
worker_started() {
    local name=$1 number=$2 dir run
    dir=$(node_dir "$name") run=$(node_run "$name")
    mkdir -p "$dir/kubelet" "$dir/cni"
    certificate "kubelet-$name" "/CN=$name" server "IP:$(node_ip "$number"),DNS:$name"
    resolvers | sed 's/^/nameserver /' | write "$dir/resolv.conf"
    cni_config "$number" | write "$dir/cni/10-stack-testbed.conflist"
    kubelet_config "$name" "$number" | write "$dir/kubelet.yaml"
    cgroup_made "$MARK/$name"
    kubelet_mounts "$dir"
    ensure_process "$name" kubelet "$name" unshare --mount --propagation unchanged \
        "$TESTBED_DIR/services/own-pod-logs" "$dir/log" "$KUBERNETES/kubelet" \
        --config="$dir/kubelet.yaml" --kubeconfig="$(node_dir "$PROFILE")/kubeconfig" --root-dir="$dir/kubelet" \
        --container-runtime=docker --docker-endpoint="unix://$run/docker.sock" \
        --container-runtime-endpoint="unix://$run/dockershim.sock" \
        --experimental-dockershim-root-directory="$dir/dockershim" --volume-plugin-dir="$dir/volume-plugins" \
        --network-plugin=cni --cni-bin-dir="$CNI" --cni-conf-dir="$dir/cni" --cni-cache-dir="$dir/cni-cache" \
        --pod-infra-container-image="$IMAGE_PAUSE" --hostname-override="$name" --node-ip="$(node_ip "$number")" \
        --cert-dir="$dir/kubelet-certs"
    ensure_process "$name" proxy "$name" "$KUBERNETES/kube-proxy" \
        --kubeconfig="$(node_dir "$PROFILE")/kubeconfig" --hostname-override="$name" --cluster-cidr="$PODS_CIDR" \
        --bind-address="$(node_ip "$number")" \
        --proxy-mode=iptables --iptables-min-sync-period=100ms --conntrack-max-per-core=0 --oom-score-adj=0 \
        --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
}

# Point-to-point links and not a bridge: every packet is routed by the node, so services work between two pods of one
# node without br_netfilter.
cni_config() {
    jq -n --arg subnet "$(pod_subnet "$1")" --arg data "$RUN/cni/$1" '{
        cniVersion: "0.4.0", name: "stack-testbed",
        plugins: [
            {type: "ptp", ipMasq: false, ipam: {
                type: "host-local", dataDir: $data, ranges: [[{subnet: $subnet}]], routes: [{dst: "0.0.0.0/0"}]}},
            {type: "portmap", capabilities: {portMappings: true}}
        ]
    }'
}

kubelet_config() {
    cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: AlwaysAllow}
tlsCertFile: $PKI/kubelet-$1.crt
tlsPrivateKeyFile: $PKI/kubelet-$1.key
address: 0.0.0.0
clusterDomain: cluster.local
clusterDNS: [$(node_ip 0)]
resolvConf: $(node_dir "$1")/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: /$MARK/$1
failSwapOn: false
# Both have sockets in /var/lib/kubelet, wherever the kubelet's own folder is.
featureGates: {DevicePlugins: false, KubeletPodResources: false}
oomScoreAdj: 0
readOnlyPort: 0
maxPods: 110
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 100
kubeAPIBurst: 200
serializeImagePulls: false
nodeStatusUpdateFrequency: 5s
# Images are only ever loaded by hand here, never pulled again: never collected, and a full disk evicts late.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 64Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
containerLogMaxSize: 5Mi
containerLogMaxFiles: 2
YAML
}

# kubelet_mounts NODE_DIR : what the kubelet mounts in its folder, dockerd must see, from another mount namespace
kubelet_mounts() {
    mountpoint -q "$1/kubelet" && return 0
    mount --bind "$1/kubelet" "$1/kubelet"
    mount --make-rshared "$1/kubelet"
}

worker_stopped() {
    stop_processes "$1" 5 kubelet proxy
}
