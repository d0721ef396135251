# shellcheck shell=bash
# Kubernetes 1.20.2, compiled from Debian 12's source package (which vendors everything it needs).
# No registry that this project may use carries Kubernetes binaries; this costs about 6 minutes on 2 cores, once.

KUBERNETES_VERSION=1.20.2
KUBERNETES=$CACHE/kubernetes-$KUBERNETES_VERSION-r1 # r: raised when the recipe below changes its result
KUBERNETES_BINARIES=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

kubernetes_cached() {
    [[ -d $KUBERNETES ]] && return 0
    # hack/ and dpkg-source use these; none is there on a minimal Debian.
    need_packages golang-go make rsync dpkg-dev patch xz-utils
    say "Kubernetes $KUBERNETES_VERSION: compiling, about 6 minutes on 2 cores (log: $LOGS/kubernetes-build.log)"
    logged kubernetes-build cached "${KUBERNETES##*/}" make_kubernetes
    say "Kubernetes: compiled"
}

make_kubernetes() {
    local work=$1/work name vendored
    mkdir -p "$work/apt/lists" "$work/apt/parts" "$work/reflect2" "$work/gocache"
    source_lists "$work/apt/parts"
    local -a apt=("${APT[@]}" -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/apt/parts"
        -o "Dir::State::lists=$work/apt/lists")
    cd "$work" || return
    "${apt[@]}" update
    "${apt[@]}" source --download-only kubernetes
    dpkg-source -x kubernetes_*.dsc src

    # The vendored reflect2 1.0.1 reads memory that is laid out otherwise since Go 1.18: an API server with it dies of
    # a segmentation fault while it encodes a JSON map, after some half an hour. 1.0.2 is right, and Debian has it.
    unpack_package golang-github-modern-go-reflect2-dev "$work/reflect2"
    vendored=src/vendor/github.com/modern-go/reflect2
    rm -f -- "$vendored"/*.go "$vendored"/*.s
    cp "$work"/reflect2/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$vendored/"
    rm -f -- "$vendored"/*_test.go

    # Its makefiles generate code first and insist on a GOPATH layout.
    mkdir -p src/.go/src/k8s.io
    ln -s ../../.. src/.go/src/k8s.io/kubernetes
    cd src/.go/src/k8s.io/kubernetes || return
    env -i PATH="$PATH" HOME="$work" LC_ALL=C.UTF-8 GOPATH="$work/src/.go" GOCACHE="$work/gocache" CGO_ENABLED=0 \
        nice -n 5 make WHAT="${KUBERNETES_BINARIES[*]/#/cmd/}"
    for name in "${KUBERNETES_BINARIES[@]}"; do
        install -m 755 "_output/bin/$name" "$1/$name"
    done
    cd "$1" || return
    # Go makes its module folders read-only.
    chmod -R u+w "$work"
    rm -rf -- "$work"
}

# source_lists FOLDER : this machine's own package sources, asked for source packages. Nothing of the machine changes.
source_lists() {
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        [[ -e $file ]] || continue
        sed 's/^Types:.*/Types: deb-src/' "$file" >"$1/${file##*/}"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ -e $file ]] || continue
        sed -n 's/^deb /deb-src /p' "$file" >"$1/source-${file##*/}"
    done
}
