# shellcheck shell=bash
# Docker Engine 29, containerd and runc, compiled from their Go modules.

CONTAINERD_VERSION=2.4.2
MOBY_VERSION=2.0.0-beta.24
RUNC_VERSION=1.5.3
DOCKER_CLI_VERSION=29.9.3
DOCKER_CLI_OLDEST_API=1.44 # the oldest that Docker 29 speaks

CONTAINERD=$CACHE/containerd-$CONTAINERD_VERSION
MOBY=$CACHE/moby-$MOBY_VERSION
RUNC=$CACHE/runc-$RUNC_VERSION
DOCKER_CLI=$CACHE/docker-cli-$DOCKER_CLI_VERSION

part "${CONTAINERD##*/}" 160 make_containerd
part "${MOBY##*/}" 160 make_moby
part "${RUNC##*/}" 25 make_runc
part "${DOCKER_CLI##*/}" 60 make_docker_cli

make_containerd() {
    local module=github.com/containerd/containerd/v2
    go_module containerd "$module@v$CONTAINERD_VERSION"
    GO_BUILD_FLAGS='-tags no_btrfs,no_devmapper,no_zfs,no_aufs' \
        go_build "-X $module/version.Version=v$CONTAINERD_VERSION" "$1/" \
        "$module/cmd/containerd" "$module/cmd/containerd-shim-runc-v2" "$module/cmd/ctr"
}

make_moby() {
    local module=github.com/moby/moby/v2
    go_module moby "$module@v$MOBY_VERSION"
    go_build "-X $module/dockerversion.Version=29.0.0-$MOBY_VERSION" "$1/" "$module/cmd/dockerd" "$module/cmd/docker-proxy"
}

# Static, so that it runs in any image: nodes have one too. It needs cgo.
make_runc() {
    local module=github.com/opencontainers/runc
    go_module runc "$module@v$RUNC_VERSION"
    CGO_ENABLED=1 GO_BUILD_FLAGS='-tags seccomp,netgo,osusergo' go_build \
        "-X main.version=$RUNC_VERSION -linkmode external -extldflags -static" "$1/runc" "$module"
}

# Its module has no go.mod: vendor.mod is one.
make_docker_cli() {
    local module=github.com/docker/cli source
    source=$(cd / && go_folder "$module" "v$DOCKER_CLI_VERSION+incompatible")
    rm -rf -- "$BUILD/src/docker-cli"
    mkdir -p "$BUILD/src"
    cp -a "$source" "$BUILD/src/docker-cli"
    chmod -R u+w "$BUILD/src/docker-cli"
    cd "$BUILD/src/docker-cli"
    rm -rf vendor
    mv vendor.mod go.mod
    mv vendor.sum go.sum
    go_do mod edit -replace github.com/moby/swarmkit/v2=github.com/moby/swarmkit/v2@v2.0.0
    go_build "-X $module/cli/version.Version=$DOCKER_CLI_VERSION" "$1/docker" ./cmd/docker
}
