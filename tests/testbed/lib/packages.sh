# shellcheck shell=bash
# Debian packages. Only what is missing is installed, and the package lists are fetched only when something is.

APT=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600)

installed() {
    local status
    status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) && [[ $status == installed ]]
}

# need_packages PACKAGE... : installs those that are missing
need_packages() {
    local p
    local -a missing=()
    for p; do installed "$p" || missing+=("$p"); done
    ((${#missing[@]} == 0)) && return 0
    say "installing Debian packages: ${missing[*]}"
    fresh_lists
    logged apt "${APT[@]}" install --no-install-recommends "${missing[@]}"
    mkdir -p "$STATE"
    printf '%s\n' "${missing[@]}" >>"$STATE/packages-installed"
}

# need_command COMMAND PACKAGE : installs PACKAGE unless something on this machine already brings COMMAND
need_command() {
    have "$1" || need_packages "$2"
}

# fresh_lists : once in a run, for the makers in their own shells too
fresh_lists() {
    [[ -n ${TESTBED_LISTS_FRESH:-} ]] && return 0
    logged apt "${APT[@]}" update
    export TESTBED_LISTS_FRESH=yes
}

# unpack_package PACKAGE FOLDER : its files, without installing it (so that no service of it is started)
unpack_package() {
    local tmp
    fresh_lists
    tmp=$(mktemp -d)
    (cd "$tmp" && "${APT[@]}" download "$1")
    dpkg-deb -x "$tmp"/*.deb "$2"
    rm -rf -- "$tmp"
}
