# shellcheck shell=bash
# Helm 3 and Helm 4, compiled from their Go modules, and a few Debian packages that are unpacked into the cache instead of
# being installed (installing docker.io or docker-registry would start a service).

HELM3_VERSION=3.22.0
HELM4_VERSION=4.3.1

HELM3=$CACHE/helm-$HELM3_VERSION
HELM4=$CACHE/helm-$HELM4_VERSION
BUSYBOX=$CACHE/busybox-1.35.0
PODMAN=$CACHE/podman-4.3.1-r2
REGISTRY=$CACHE/docker-registry-2.8.2
DOCKER20=$CACHE/docker-20.10.24
TINI=$CACHE/tini-0.19.0

part "${HELM3##*/}" 124 make_helm3
part "${HELM4##*/}" 230 make_helm4
part "${BUSYBOX##*/}" 1 make_busybox
part "${PODMAN##*/}" 9 make_podman
part "${REGISTRY##*/}" 1 make_registry
part "${DOCKER20##*/}" 9 make_docker20
part "${TINI##*/}" 1 make_tini

make_helm3() { helm_built 3 "$HELM3_VERSION" "$1/helm"; }
make_helm4() { helm_built 4 "$HELM4_VERSION" "$1/helm"; }

helm_built() {
    local module=helm.sh/helm/v$1
    go_module "helm$1" "$module@v$2"
    go_build "-X $module/internal/version.version=v$2 -X $module/internal/version.metadata=" "$3" "$module/cmd/helm"
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

make_busybox() {
    unpack_package busybox-static "$1/deb"
    mv "$1/deb/bin/busybox" "$1/"
    rm -rf -- "$1/deb"
}

make_registry() {
    unpack_package docker-registry "$1/deb"
    mv "$1/deb/usr/bin/docker-registry" "$1/"
    rm -rf -- "$1/deb"
}

# What `docker run --init` starts first
make_tini() {
    unpack_package tini "$1/deb"
    mv "$1/deb/usr/bin/tini-static" "$1/docker-init"
    rm -rf -- "$1/deb"
}

# Debian's Docker Engine of another generation, with its own containerd and runc and the libraries they need
make_docker20() {
    local package
    for package in docker.io containerd runc libdevmapper1.02.1; do unpack_package "$package" "$1/deb"; done
    mkdir "$1/bin" "$1/lib"
    mv "$1"/deb/usr/sbin/dockerd "$1"/deb/usr/sbin/docker-proxy "$1"/deb/usr/bin/{containerd,containerd-shim-runc-v2} "$1/bin/"
    mv "$1/deb/usr/sbin/runc" "$1/bin/runc.real"
    mv "$1"/deb/lib/x86_64-linux-gnu/libdevmapper* "$1/lib/"
    install -m 755 "$TESTBED_DIR/node/runc" "$1/bin/runc"
    rm -rf -- "$1/deb"
}
# What CRI-O nodes have. Its settings are in the packages and not in /etc of this machine; PODMAN_ROOT is its storage.
make_podman() {
    local package
    for package in podman conmon libgpgme11 libsubid4 libassuan0 libglib2.0-0 libdevmapper1.02.1 golang-github-containers-common \
        golang-github-containers-image; do
        unpack_package "$package" "$1/deb"
    done
    cat >"$1/podman" <<'WRAPPER'
#!/bin/sh
deb=$(dirname "$(readlink -f "$0")")/deb
export LD_LIBRARY_PATH="$deb/usr/lib/x86_64-linux-gnu:$deb/lib/x86_64-linux-gnu"
export CONTAINERS_REGISTRIES_CONF="$deb/etc/containers/registries.conf" CONTAINERS_CONF="$deb/usr/share/containers/containers.conf"
[ "$1" != load ] || set -- "$@" --signature-policy "$deb/etc/containers/policy.json"
exec "$deb/usr/bin/podman" --root "$PODMAN_ROOT/storage" --runroot "$PODMAN_ROOT/run" --storage-driver vfs \
    --conmon "$deb/usr/bin/conmon" "$@"
WRAPPER
    chmod 755 "$1/podman"
}
