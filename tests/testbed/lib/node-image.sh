# shellcheck shell=bash
# The image of a Kubernetes node, as kind builds it, made without a container engine: Debian with systemd, kind's own
# files, the programs, and the images of the control plane in containerd's store.

NODE_IMAGE=kindest/node:v$KUBERNETES_VERSION
NODE_ROOT=$CACHE/node-root-debian-12-r1
NODE_IMAGES=$CACHE/node-image-$KUBERNETES_VERSION-r2

part "${NODE_ROOT##*/}" 40 make_node_root
part "${NODE_IMAGES##*/}" 30 make_node_image "${CONTAINERD##*/}" "${RUNC##*/}" "${KUBERNETES##*/}" "${ETCD##*/}" \
    "${COREDNS##*/}" "${CNI##*/}" "${CRICTL##*/}" "${LOCAL_PATH##*/}" "${KIND##*/}" "${NODE_ROOT##*/}" \
    "${IMAGES_BUSYBOX##*/}" "${IMAGES_DEBIAN##*/}"

NODE_DIR=$TESTBED_DIR/node

# Debian 12's systemd is the newest that still accepts cgroup v1.
make_node_root() {
    mmdebstrap --variant=minbase --skip=output/dev \
        --include=systemd,systemd-sysv,conntrack,iptables,nftables,iproute2,ethtool,mount,kmod,libseccomp2 \
        --include=ca-certificates,jq,procps,ebtables,socat,curl,bash \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --aptopt='Acquire::Languages "none"' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
        bookworm "$1/root.tar"
}

# static_image FOLDER NAME PROGRAM PATH CONFIG : FOLDER/image.tar with one static program at PATH
static_image() {
    mkdir -p "$1/root/$(dirname "$4")"
    install -m 755 "$3" "$1/root/$4"
    layer "$1/root" "$1/layer.tar"
    rm -rf -- "$1/root"
    image_archive "$1" "$2" "$5" "$1/layer.tar"
    rm -f -- "$1/layer.tar"
}

# proxy_files ROOT FOLDER : what kube-proxy calls, out of the node's own file system, with the libraries of it
proxy_files() {
    local root=$1 to=$2 file
    mkdir -p "$to"/{usr/sbin,usr/local/bin,tmp,run,etc,lib64}
    {
        echo /usr/sbin/xtables-nft-multi
        echo /usr/sbin/nft
        echo /usr/sbin/conntrack
        (cd "$root" && find usr/lib/x86_64-linux-gnu/xtables -name '*.so' -printf '/%p\n')
    } >"$to.list"
    # shellcheck disable=SC2046 # a list of files
    chroot "$root" ldd $(cat "$to.list") 2>/dev/null | awk '/=> \// {print $3} /^\t\/lib64/ {print $1}' | sort -u >>"$to.list"
    while read -r file; do
        mkdir -p "$to$(dirname "$file")"
        cp -L "$root$file" "$to$file"
    done <"$to.list"
    rm -f -- "$to.list"
    for file in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -s xtables-nft-multi "$to/usr/sbin/$file"
    done
    install -m 755 "$KUBERNETES/kube-proxy" "$to/usr/local/bin/kube-proxy"
}

# kind_value NAME : a string constant in the source of kind's storage class
kind_value() { sed -n "s/^const $1 = \"\(.*\)\"/\1/p" "$KIND/const_storage.go"; }

# storage_manifest : kind's own, with the names of its images
storage_manifest() {
    sed -n '/^const defaultStorageManifest = `/,/^`/p' "$KIND/const_storage.go" | sed '1d;$d' |
        sed "s,\` + storageProvisionerImage + \`,$(kind_value storageProvisionerImage),;
             s,\` + storageHelperImage + \`,$(kind_value storageHelperImage),"
}

# node_archives FOLDER ROOT : an archive for each image that a node brings along
node_archives() {
    local to=$1 root=$2 image name program path='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'
    chroot "$root" kubeadm config images list --kubernetes-version "v$KUBERNETES_VERSION" >"$to/list"
    grep -v /pause: "$to/list" >"$to/list.rest"
    sed -n 's/^ *sandbox_image = "\(.*\)"/\1/p' "$root/etc/containerd/config.toml" >>"$to/list.rest"
    kind_value storageProvisionerImage >>"$to/list.rest"
    while read -r image; do
        name=${image##*/}
        name=${name%:*}
        mkdir -p "$to/$name"
        program=/usr/local/bin/$name
        case $name in
            kube-proxy)
                proxy_files "$root" "$to/$name/root"
                layer "$to/$name/root" "$to/$name/layer.tar"
                rm -rf -- "$to/$name/root"
                image_archive "$to/$name" "$image" "{\"Env\": [$path], \"Entrypoint\": [\"$program\"]}" "$to/$name/layer.tar"
                rm -f -- "$to/$name/layer.tar"
                ;;
            kube-*) static_image "$to/$name" "$image" "$KUBERNETES/$name" "$program" "{\"Env\": [$path], \"Entrypoint\": [\"$program\"]}" ;;
            etcd) static_image "$to/$name" "$image" "$ETCD/etcd" "$program" "{\"Env\": [$path], \"Entrypoint\": [\"$program\"]}" ;;
            coredns) static_image "$to/$name" "$image" "$COREDNS/coredns" /coredns '{"Entrypoint": ["/coredns"]}' ;;
            pause) static_image "$to/$name" "$image" "$to/pause-program" /pause '{"Entrypoint": ["/pause"]}' ;;
            local-path-provisioner)
                static_image "$to/$name" "$image" "$LOCAL_PATH/$name" "$program" "{\"Env\": [$path], \"Entrypoint\": [\"$program\"]}"
                ;;
            *)
                echo "no program for the image $image" >&2
                return 1
                ;;
        esac
    done <"$to/list.rest"
    # What its helper pods need is a shell.
    mkdir "$to/helper"
    image_archive "$to/helper" "$(kind_value storageHelperImage)" "{\"Env\": [$path], \"Cmd\": [\"sh\"]}" "$IMAGES_BUSYBOX/layer.tar"
    mkdir "$to/busybox" "$to/debian"
    ln -s "$IMAGES_BUSYBOX/image.tar" "$to/busybox/image.tar"
    ln -s "$IMAGES_DEBIAN/image.tar" "$to/debian/image.tar"
}

# containerd_filled ROOT ARCHIVE... : the archives into the store below ROOT, with a containerd that runs for that only
containerd_filled() {
    local store=$1/var/lib/containerd run pid rc=0 archive
    shift
    run=$(mktemp -d)
    mkdir -p "$store"
    cat >"$run/config.toml" <<TOML
version = 3
root = "$store"
state = "$run/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"]
[grpc]
address = "$run/socket"
TOML
    "$CONTAINERD/containerd" --config "$run/config.toml" --log-level error &
    pid=$!
    wait_until 20 "$CONTAINERD/ctr" -a "$run/socket" version || rc=1
    for archive; do
        ((rc)) || "$CONTAINERD/ctr" -a "$run/socket" -n k8s.io images import --local --no-unpack --digests "$archive" || rc=1
    done
    kill "$pid"
    wait "$pid" || true
    rm -rf -- "$run"
    # The rest is made again by the node's containerd.
    find "$store" -mindepth 1 -maxdepth 1 ! -name io.containerd.content.v1.content ! -name io.containerd.metadata.v1.bolt \
        -exec rm -rf {} +
    return "$rc"
}

enable() { # ROOT UNIT... : as `systemctl enable`, all for multi-user.target
    local root=$1 unit
    shift
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    for unit; do ln -sf "/etc/systemd/system/$unit" "$root/etc/systemd/system/multi-user.target.wants/$unit"; done
}

make_node_image() {
    local root=$1/root work=$1/work file
    mkdir "$root" "$work"
    tar -C "$root" --numeric-owner -xf "$NODE_ROOT/root.tar"

    # As images/base/Dockerfile of kind has it.
    rm -f "$root"/lib/systemd/system/{sysinit.target.wants/systemd-tmpfiles-setup.service,multi-user.target.wants/*} \
        "$root"/etc/systemd/system/*.wants/* "$root"/lib/systemd/system/local-fs.target.wants/* \
        "$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}* "$root"/lib/systemd/system/basic.target.wants/*
    echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
    ln -sf /dev/null "$root/etc/systemd/system/systemd-binfmt.service"
    cp -a "$KIND/node-files/." "$root/"
    chown -R root:root "$root"/{etc/containerd,etc/systemd/system,kind,usr/local/bin}
    find "$root/kind" "$root/usr/local/bin" -type d -exec chmod 755 {} +
    mkdir -p "$root"/{etc/kubernetes/manifests,opt/cni/bin,kind/manifests,usr/local/lib/runc,etc/containerd/certs.d}

    # What the bed changes in kind's files.
    install -m 644 "$NODE_DIR/hide-controllers.sh" "$root/kind/bin/hide-controllers.sh"
    sed -i "s,^log_info 'starting init',. /kind/bin/hide-controllers.sh\n&," "$root/usr/local/bin/entrypoint"
    sed -i 's,^KUBELET_EXTRA_ARGS=,&--fail-cgroupv1=false ,' "$root/etc/default/kubelet"
    mkdir "$root/etc/containerd/certs.d/$REGISTRY_ADDRESS"
    echo "server = \"http://$REGISTRY_ADDRESS\"" >"$root/etc/containerd/certs.d/$REGISTRY_ADDRESS/hosts.toml"
    printf '\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n' \
        >>"$root/etc/containerd/config.toml"
    "$CONTAINERD/ctr" oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] |
        del(.process.rlimits)' >"$root/etc/containerd/cri-base.json"
    install -m 755 "$NODE_DIR/network.sh" "$root/kind/bin/network.sh"
    install -m 644 "$NODE_DIR/network.service" "$root/etc/systemd/system/network.service"
    enable "$root" kubelet.service containerd.service undo-mount-hacks.service network.service
    chmod 755 "$root"/kind/bin/*.sh "$root/usr/local/bin/entrypoint"

    install -m 755 "$CONTAINERD"/{containerd,containerd-shim-runc-v2,ctr} "$CRICTL/crictl" "$root/usr/local/bin/"
    install -m 755 "$RUNC/runc" "$root/usr/local/lib/runc/runc"
    install -m 755 "$NODE_DIR/runc" "$root/usr/local/sbin/runc"
    install -m 755 "$NODE_DIR/sudo" "$root/usr/local/bin/sudo"
    install -m 755 "$CNI"/* "$root/opt/cni/bin/"
    install -m 755 "$KUBERNETES"/{kubeadm,kubelet,kubectl} "$root/usr/bin/"
    echo "v$KUBERNETES_VERSION" >"$root/kind/version"
    install -m 644 "$NODE_DIR/default-cni.yaml" "$root/kind/manifests/default-cni.yaml"
    storage_manifest >"$root/kind/manifests/default-storage.yaml"

    gcc -Os -static -s -o "$work/pause-program" "$NODE_DIR/pause.c"
    node_archives "$work" "$root"
    containerd_filled "$root" "$work"/*/image.tar
    rm -rf -- "$work"

    layer_as_is "$root" "$1/layer.tar"
    rm -rf -- "$root"
    image_archive "$1" "$NODE_IMAGE" '{"Env": ["container=docker", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"], "StopSignal": "SIGRTMIN+3"}' "$1/layer.tar"
    rm -f -- "$1/layer.tar"
}
