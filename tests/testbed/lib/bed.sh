# shellcheck shell=bash
# The bed as a whole: which profile it has, which checkouts use it, how it ends.

PROFILE=${BED_PROFILE:-${STACK_TESTBED_PROFILE:-stack-testbed}}

# bed_checked : what is there was made by scripts like these
bed_checked() {
    if [[ -r $STATE/bed.env && ${BED_MADE_BY:-} != "$BED_REVISION" ]]; then
        die "the bed on this machine was made by another revision of these scripts (${BED_MADE_BY:-?}, this is" \
            "$BED_REVISION): run $TESTBED_DIR/down --all first"
    fi
    mkdir -p "$STATE" "$RUN" "$LOGS"
}

bed_written() {
    {
        echo "BED_MADE_BY=$BED_REVISION"
        echo "BED_PROFILE=$PROFILE"
        echo "BED_NODE_IP=$(node_address "${NODES[0]}")"
        echo "BED_KUBERNETES_VERSION=v$KUBERNETES_VERSION"
        if alive "$HOST" dockerd; then echo "BED_HOST_ENGINE=ours"; else echo "BED_HOST_ENGINE=found"; fi
        printf 'BED_DOCKER_HOST=%q\n' "${DOCKER_HOST:-unix://$HOST_SOCKET}"
        echo "BED_REGISTRY=$REGISTRY_ADDRESS"
        echo "BED_CACHE=$CACHE"
        echo "BED_HELM3=$HELM3/helm"
        echo "BED_HELM4=$HELM4/helm"
        echo "BED_DOCKER20=$DOCKER20"
        echo "BED_PODMAN=$PODMAN"
    } | write "$STATE/bed.env"
}

# everything_made : all parts in the cache, those that others wait for first. Deletes what compiling has left.
everything_made() {
    local -a names=("${CONTAINERD##*/}" "${MOBY##*/}" "${RUNC##*/}")
    ! docker_cli_needed || names+=("${DOCKER_CLI##*/}")
    names+=("${BUSYBOX##*/}" "${IMAGES_BUSYBOX##*/}" "${KUBERNETES##*/}" "${IMAGES_DEBIAN##*/}" "${NODE_ROOT##*/}"
        "${KIND##*/}" "${ETCD##*/}" "${COREDNS##*/}" "${CNI##*/}" "${LOCAL_PATH##*/}" "${CRICTL##*/}")
    local name missing=no
    for name in "${names[@]}" "${NODE_IMAGES##*/}" "${HELM3##*/}" "${HELM4##*/}" "${IMAGES_NODE##*/}" \
        "${PODMAN##*/}" "${REGISTRY##*/}" "${DOCKER20##*/}" "${TINI##*/}"; do
        [[ -d $CACHE/$name ]] || missing=yes
    done
    [[ $missing == yes ]] || return 0
    # Left by an `up` that was killed. We hold the lock, so that it is not being filled.
    rm -rf -- "$CACHE"/.making-*
    need_packages gcc libc6-dev libseccomp-dev pkg-config mmdebstrap
    need_command npm npm
    fresh_lists
    go_cached
    parts_made "${names[@]}" "${HELM4##*/}" "${NODE_IMAGES##*/}" "${HELM3##*/}" "${IMAGES_NODE##*/}" \
        "${PODMAN##*/}" "${REGISTRY##*/}" "${DOCKER20##*/}" "${TINI##*/}"
    go_do clean -modcache
    rm -rf -- "$BUILD"
    parts_table >&2
}

# tools_linked : the bed's own bin folder, which `env` puts on PATH
tools_linked() {
    mkdir -p "$STATE/bin"
    ln -sfn "$HELM3/helm" "$STATE/bin/helm"
    ln -sfn "$HELM3/helm" "$STATE/bin/helm3"
    ln -sfn "$HELM4/helm" "$STATE/bin/helm4"
    ln -sfn "$KUBERNETES/kubectl" "$STATE/bin/kubectl"
    ln -sfn "$KIND/kind" "$STATE/bin/kind"
    # Not under its own name: a test that does without it must not find it.
    ln -sfn "$PODMAN/podman" "$STATE/bin/node-podman"
    ln -sfn "$REGISTRY/docker-registry" "$STATE/bin/docker-registry"
    # Tests start engines of their own.
    ln -sfn "$CONTAINERD/containerd" "$STATE/bin/containerd"
    ln -sfn "$CONTAINERD/ctr" "$STATE/bin/ctr"
    write "$STATE/bin/dockerd" 755 <<SH
#!/bin/sh
PATH='$STATE/engine':"\$PATH" exec '$MOBY/dockerd' "\$@"
SH
    write "$STATE/bin/dockerd20" 755 <<SH
#!/bin/sh
PATH='$DOCKER20/bin':"\$PATH" LD_LIBRARY_PATH='$DOCKER20/lib' exec '$DOCKER20/bin/dockerd' "\$@"
SH
    [[ ! -x $DOCKER_CLI/docker ]] || ln -sfn "$DOCKER_CLI/docker" "$STATE/bin/docker"
}

# Folders outside ours that dockerd and containerd make and cannot be told not to.
FOREIGN_FOLDERS=(/etc/docker /run/docker /run/runc /run/containerd /opt/containerd)

# folders_saved : which of them were there before us
folders_saved() {
    [[ -e $STATE/folders-before ]] && return 0
    local folder
    for folder in "${FOREIGN_FOLDERS[@]}"; do
        [[ ! -d $folder ]] || echo "$folder"
    done | write "$STATE/folders-before"
}

folders_removed() {
    [[ -e $STATE/folders-before ]] || return 0
    local folder
    for folder in "${FOREIGN_FOLDERS[@]}"; do
        grep -qxF -- "$folder" "$STATE/folders-before" || engine_answers || rm -rf -- "$folder"
    done
}

# A checkout that uses the bed is a file in users/ that holds its path.
user_file() { printf '%s/users/%s' "$STATE" "$(printf '%s' "$1" | sha256sum | cut -c1-16)"; }

register() { printf '%s\n' "$CHECKOUT" | write "$(user_file "$CHECKOUT")"; }

unregister() { rm -f -- "$(user_file "$CHECKOUT")"; }

# users : checkouts that use the bed; those whose folder is gone do not count
users() {
    local file
    for file in "$STATE"/users/*; do
        [[ -e $file ]] || continue
        if [[ -d $(cat "$file") ]]; then cat "$file"; else rm -f -- "$file"; fi
    done
}

# empty_kubeconfig : as minikube leaves it when its only cluster is deleted
empty_kubeconfig() {
    printf '%s\n' 'apiVersion: v1' 'kind: Config' 'clusters: []' 'users: []' 'contexts: []' 'current-context: ""' |
        write "$STATE/kubeconfig" 600
}

# bed_down : everything that `up` started; the cache stays
bed_down() {
    say "stopping the cluster"
    ! engine_answers || cluster_deleted
    registry_down
    node_engines_down
    network_rules_removed
    netns_folder_removed
    stop_process "$HOST" trim-logs 2
    ! engine_answers || host_images_removed
    host_engine_down
    cgroup_removed "$MARK"
    sysctls_restored
    folders_removed
    # Either may be a mount point of the machine's owner: then it stays, empty.
    rm -rf -- "$RUN" "$STATE" 2>/dev/null || [[ -z $(ls -A "$STATE") ]] || say "cannot remove all of $STATE"
}
