# shellcheck shell=bash
# Kubernetes and what a node of it needs, compiled from their Go modules.

KUBERNETES_VERSION=1.36.3
KUBERNETES_STAGING=0.36.3 # the version of the k8s.io/X modules that belong to it
ETCD_VERSION=3.7.3
COREDNS_VERSION=1.15.0
CNI_VERSION=1.9.1
CRICTL_VERSION=1.37.0
LOCAL_PATH_VERSION=0.0.30
KIND_VERSION=0.33.0

KUBERNETES=$CACHE/kubernetes-$KUBERNETES_VERSION
ETCD=$CACHE/etcd-$ETCD_VERSION
COREDNS=$CACHE/coredns-$COREDNS_VERSION
CNI=$CACHE/cni-plugins-$CNI_VERSION
CRICTL=$CACHE/crictl-$CRICTL_VERSION
LOCAL_PATH=$CACHE/local-path-provisioner-$LOCAL_PATH_VERSION
KIND=$CACHE/kind-$KIND_VERSION

part "${KUBERNETES##*/}" 690 make_kubernetes
part "${ETCD##*/}" 56 make_etcd
part "${COREDNS##*/}" 150 make_coredns "${KUBERNETES##*/}"
part "${CNI##*/}" 11 make_cni
part "${CRICTL##*/}" 56 make_crictl
part "${LOCAL_PATH##*/}" 26 make_local_path "${KUBERNETES##*/}"
part "${KIND##*/}" 10 make_kind

# kubernetes_module NAME MODULE@VERSION... : as go_module, with Kubernetes. Its own go.mod replaces the modules k8s.io/X by
# folders, which only counts in its own repository: they are replaced by the released ones. When further modules are named,
# all that Kubernetes depends on keeps the version that it has there, so that nothing is compiled a second time.
kubernetes_module() {
    local name=$1 mod module version
    local -a edits=(-require "k8s.io/kubernetes@v$KUBERNETES_VERSION")
    shift
    go_module "$name"
    mod=$(go_do mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION" | jq -r .GoMod)
    while read -r module; do
        edits+=(-replace "$module=$module@v$KUBERNETES_STAGING")
    done < <(awk '$2 == "=>" && $3 ~ /^\.\/staging\// {print $1}' "$mod")
    if (($#)); then
        while read -r module version; do
            edits+=(-replace "$module=$module@$version")
        done < <(awk '/^require \(/ {on = 1; next} /^\)/ {on = 0} on && $2 != "v0.0.0" {print $1, $2}' "$mod")
    fi
    go_do mod edit "${edits[@]}"
    (($# == 0)) || go_do get "$@"
}

# kubeadm refuses to work when it does not know its version.
make_kubernetes() {
    local at=k8s.io/component-base/version program flags
    local -a packages=()
    flags="-X $at.gitVersion=v$KUBERNETES_VERSION -X $at.gitMajor=1 -X $at.gitMinor=36 -X $at.gitTreeState=clean"
    for program in kubeadm kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl; do
        packages+=("k8s.io/kubernetes/cmd/$program")
    done
    kubernetes_module kubernetes
    go_build "$flags" "$1/" "${packages[@]}"
}

# Built with the client libraries of Kubernetes above, which are compiled already.
make_local_path() {
    local module=github.com/rancher/local-path-provisioner
    kubernetes_module local-path "$module@v$LOCAL_PATH_VERSION"
    go_build "-X main.VERSION=v$LOCAL_PATH_VERSION" "$1/local-path-provisioner" "$module"
}

make_etcd() {
    go_module etcd "go.etcd.io/etcd/server/v3@v$ETCD_VERSION"
    go_build '' "$1/etcd" go.etcd.io/etcd/server/v3
}

# Only the plugins that kubeadm's Corefile names, with the client libraries of Kubernetes above: all plugins would take ten
# times as long.
make_coredns() {
    local module=github.com/coredns/coredns plugin
    kubernetes_module coredns "$module@v$COREDNS_VERSION"
    {
        echo 'package main'
        echo 'import ('
        for plugin in cache errors forward health hosts kubernetes loadbalance log loop ready reload; do
            echo "_ \"$module/plugin/$plugin\""
        done
        echo "_ \"$module/plugin/metrics\""
        echo "\"$module/coremain\""
        echo ')'
        echo 'func main() { coremain.Run() }'
    } >main.go
    go_build '' "$1/coredns" .
}

make_cni() {
    local module=github.com/containernetworking/plugins
    go_module cni "$module@v$CNI_VERSION"
    go_build '' "$1/" "$module/plugins/main/ptp" "$module/plugins/main/loopback" "$module/plugins/ipam/host-local" \
        "$module/plugins/meta/portmap"
}

make_crictl() {
    local module=sigs.k8s.io/cri-tools
    go_module crictl "$module@v$CRICTL_VERSION"
    go_build "-X $module/pkg/version.Version=v$CRICTL_VERSION" "$1/crictl" "$module/cmd/crictl"
}

# kind, and from its source the files of its node image and the manifest of its storage class
make_kind() {
    local module=sigs.k8s.io/kind source
    go_module kind "$module@v$KIND_VERSION"
    go_build '' "$1/kind" "$module"
    source=$(go_folder "$module" "v$KIND_VERSION")
    cp -a "$source/images/base/files" "$1/node-files"
    chmod -R u+w "$1/node-files"
    cp "$source/pkg/build/nodeimage/const_storage.go" "$1/"
}
