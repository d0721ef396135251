# shellcheck shell=bash
# The stand-in's commands that change something or need a child process. Called by ../bin/minikube, which has already
# looked whether the profile exists and, where needed, runs.
set -euo pipefail
# shellcheck source=all.sh
. "$(dirname "${BASH_SOURCE[0]}")/all.sh"

profile=$MINIKUBE_STAND_IN_PROFILE
output=text format=short namespace=default url=no force=no
words=() behind=()
driver='' cpus='' memory='' disk='' runtime='' version='' nodes=''

read_arguments() {
    local name value
    while (($#)); do
        case $1 in
            --)
                shift
                behind=("$@")
                return
                ;;
            --*=*) name=${1%%=*} value=${1#*=} ;;
            --url | --force | --all | --purge | --daemon | --remote | --overwrite | --wait | --light | --help | \
                --alsologtostderr | --embed-certs | --keep-context | --interactive | --install-addons | --preload | \
                --no-kubernetes | --download-only | --dry-run | --delete-on-failure | --cancel-scheduled | --https)
                name=$1 value=true
                ;;
            -p?*) name=-p value=${1#-p} ;;
            -o?*) name=-o value=${1#-o} ;;
            -*)
                name=$1 value=${2:-}
                shift
                ;;
            *)
                words+=("$1")
                shift
                continue
                ;;
        esac
        (($#)) && shift
        case $name in
            -o | --output) output=$value ;;
            --format) format=$value ;;
            -n | --namespace | --nodes) if [[ ${words[0]:-} == start ]]; then nodes=$value; else namespace=$value; fi ;;
            --url) url=yes ;;
            --force) force=yes ;;
            --driver | --vm-driver) driver=$value ;;
            --cpus) cpus=$value ;;
            --memory) memory=$value ;;
            --disk-size) disk=$value ;;
            -c | --container-runtime) runtime=$value ;;
            --kubernetes-version) version=$value ;;
        esac
    done
}

# step NUMBER NAME TEXT : what `start` tells while it goes on
step() {
    if [[ $output == json ]]; then
        jq -cn --arg n "$1" --arg name "$2" --arg text "$3" '{specversion: "1.0", id: "stack-testbed-\($n)",
            source: "https://minikube.sigs.k8s.io/", type: "io.k8s.sigs.minikube.step",
            datacontenttype: "application/json",
            data: {currentstep: $n, message: $text, name: $name, totalsteps: "19"}}'
    else
        echo "* $3"
    fi
}

# fail CODE REASON TEXT : as minikube ends
fail() {
    if [[ $output == json ]]; then
        jq -cn --arg code "$1" --arg name "$2" --arg text "$3" '{specversion: "1.0", id: "stack-testbed-error",
            source: "https://minikube.sigs.k8s.io/", type: "io.k8s.sigs.minikube.error",
            datacontenttype: "application/json",
            data: {exitcode: $code, message: $text, name: $name, advice: "", issues: "", url: ""}}'
    else
        echo "X Exiting due to $2: $3" >&2
    fi
    exit "$1"
}

# megabytes SIZE : minikube's sizes (4g, 4096, 4096mb) as a number of MB
megabytes() {
    local size=${1,,}
    case $size in
        *g | *gb | *gib) echo $((${size%%g*} * 1024)) ;;
        *m | *mb | *mib) echo "${size%%m*}" ;;
        *[!0-9]* | '') fail 14 MK_USAGE "invalid size: $1" ;;
        *) echo "$size" ;;
    esac
}

require_bed() {
    [[ -r $STATE/bed.env ]] || fail 80 GUEST_PROVISION "the test bed is not up: run $TESTBED_DIR/up"
}

start() {
    local dir new='' number
    require_bed
    [[ $profile == "$PROFILE" ]] ||
        fail 80 GUEST_PROVISION "this stand-in has only the profile \"$PROFILE\", not \"$profile\""
    dir=$(node_dir "$PROFILE")
    BED_DRIVER=docker BED_RUNTIME=docker
    # shellcheck disable=SC1091
    [[ ! -r $dir/machine.env ]] || . "$dir/machine.env"
    if [[ -n $driver && $driver != "$BED_DRIVER" && $driver != auto ]]; then
        [[ -e $dir/number ]] && fail 81 GUEST_DRIVER_MISMATCH "The existing \"$profile\" cluster was created using the \"$BED_DRIVER\" driver, which is incompatible with requested \"$driver\" driver."
        fail 56 DRV_UNSUPPORTED_OS "The driver '$driver' is not supported by this stand-in: only docker is"
    fi
    [[ -z $runtime || $runtime == docker || $runtime == auto ]] ||
        fail 14 MK_USAGE "Invalid Container Runtime for this stand-in: \"$runtime\". Valid runtimes are: [docker]"
    [[ -z $nodes || $nodes =~ ^[1-9]$ ]] || fail 14 MK_USAGE "invalid number of nodes: $nodes"
    case $version in
        '' | stable | latest | "v$KUBERNETES_VERSION" | "$KUBERNETES_VERSION") ;;
        *) echo "! this stand-in has Kubernetes v$KUBERNETES_VERSION only, not $version" >&2 ;;
    esac

    lock
    step 0 'Initial Minikube Setup' "[$profile] minikube v1.36.0 (stand-in of stack's test bed)"
    [[ -e $dir/number ]] || new=yes
    if [[ -n $new ]]; then
        step 1 'Selecting Driver' 'Using the docker driver based on user configuration'
        {
            echo BED_DRIVER=docker
            echo BED_RUNTIME=docker
            [[ -z $cpus || $cpus == max || $cpus == no-limit ]] || echo "BED_CPUS=$cpus"
            [[ -z $memory || $memory == max || $memory == no-limit ]] || echo "BED_MEMORY=$(megabytes "$memory")"
            [[ -z $disk ]] || echo "BED_DISK=$(megabytes "$disk")"
        } | write "$dir/machine.env"
        step 3 'Starting Node' "Starting \"$profile\" primary control-plane node in \"$profile\" cluster"
        step 8 'Creating Container' "Creating docker container (CPUs=${cpus:-2}, Memory=${memory:-6144}MB) ..."
    else
        step 1 'Selecting Driver' 'Using the docker driver based on existing profile'
        step 3 'Starting Node' "Starting \"$profile\" primary control-plane node in \"$profile\" cluster"
    fi
    node_declared "$PROFILE"
    # As minikube, which takes the number only for a new cluster.
    if [[ -n $new && -n $nodes ]]; then
        for ((number = 2; number <= nodes; number++)); do node_declared "$PROFILE-$(printf 'm%02d' "$number")"; done
    fi
    step 11 'Preparing Kubernetes' "Preparing Kubernetes v$KUBERNETES_VERSION on Docker ..."
    echo running | write "$STATE/intent"
    # Its progress is for the log; `minikube` has its own words.
    strictly cluster_up 2>>"$LOGS/minikube.log" ||
        fail 80 GUEST_START "failed to start node: see $LOGS/minikube.log"
    step 15 'Verifying Kubernetes' 'Verifying Kubernetes components...'
    step 19 Done "Done! kubectl is now configured to use \"$profile\" cluster and \"default\" namespace by default"
}

stop() {
    lock
    step 0 Stopping "Stopping node \"$profile\"  ..."
    echo stopped | write "$STATE/intent"
    cluster_stopped 2>>"$LOGS/minikube.log"
    step 3 Done "$(node_names | wc -l) node stopped."
}

delete() {
    if [[ ! -r $STATE/bed.env || $profile != "$PROFILE" || ! -e $(node_dir "$profile")/number ]]; then
        echo "! \"$profile\" profile does not exist, trying anyways."
        return 0
    fi
    lock
    step 0 Deleting "Deleting \"$profile\" in docker ..."
    echo deleted | write "$STATE/intent"
    cluster_deleted 2>>"$LOGS/minikube.log"
    empty_kubeconfig
    step 3 Done "Removed all traces of the \"$profile\" cluster."
}

image() {
    local name=${words[2]:-}
    case ${words[1]:-} in
        ls | list) image_list ;;
        load)
            [[ -n $name ]] || fail 14 MK_USAGE "Please provide an image in your local daemon to load into minikube via <minikube image load IMAGE_NAME>"
            image_load "$name"
            ;;
        rm | remove) on_every_node image rm "$name" ;;
        *) fail 14 MK_USAGE "this stand-in has: image ls, image load, image rm" ;;
    esac
}

# on_every_node DOCKER_ARGUMENT... : what goes wrong on one is only logged, as minikube does
on_every_node() {
    local name
    for name in $(node_names); do
        node_docker "$name" "$@" >/dev/null || echo "! $name: failed: docker $*" >&2
    done
}

# One list for all nodes, merged by id: as with minikube, it proves nothing about one of them.
image_list() {
    local ids list name
    list=$(for name in $(node_names); do
        mapfile -t ids < <(node_docker "$name" images --no-trunc --quiet | sort -u)
        ((${#ids[@]} == 0)) || node_docker "$name" image inspect "${ids[@]}"
    done | jq -cs 'add // [] | group_by(.Id) | map({
        # minikube leaves the digest algorithm out of the id and writes names in full.
        id: (.[0].Id | ltrimstr("sha256:")), repoDigests: (map(.RepoDigests // []) | add | unique),
        repoTags: [map(.RepoTags // []) | add | unique[] |
            if test("^[^/]*[.:][^/]*/") then . elif contains("/") then "docker.io/\(.)" else "docker.io/library/\(.)" end],
        size: (.[0].Size | tostring)})')
    case $format in
        json) echo "$list" ;;
        short | '') jq -r '.[].repoTags[]' <<<"$list" | sort -r ;;
        table) jq -r '.[] | .repoTags[0] as $t | "| \($t) | \(.id[:13]) | \(.size) |"' <<<"$list" ;;
        *) fail 14 MK_USAGE "this stand-in has the formats short, json and table" ;;
    esac
}

# As minikube: the whole image goes through a file first, and what goes wrong on the node's side is only logged.
image_load() {
    local archive
    if [[ -f $1 ]]; then
        on_every_node load --input "$1"
        return 0
    fi
    archive=$(mktemp)
    # shellcheck disable=SC2064 # the name of now
    trap "rm -f -- '$archive'" EXIT
    docker save --output "$archive" "$1" 2>/dev/null ||
        fail 80 GUEST_IMAGE_LOAD "Failed to load image: save to dir: caching images: caching image \"$1\": not found in the local daemon"
    on_every_node load --input "$archive"
}

node() {
    local name number
    case ${words[1]:-} in
        list) for name in $(node_names); do printf '%s\t%s\n' "$name" "$(node_ip "$(node_number "$name")")"; done ;;
        add)
            lock
            number=2
            while [[ -e $(node_dir "$PROFILE-$(printf 'm%02d' "$number")")/number ]]; do number=$((number + 1)); done
            name=$(printf 'm%02d' "$number")
            step 0 'Starting Node' "Adding node $name to cluster $profile as [worker]"
            node_declared "$PROFILE-$name"
            strictly cluster_up 2>>"$LOGS/minikube.log" || fail 80 GUEST_NODE_ADD "see $LOGS/minikube.log"
            step 1 Done "Successfully added $name to $profile!"
            ;;
        delete)
            name=${words[2]:-}
            name=$PROFILE-${name#"$PROFILE-"}
            [[ -e $(node_dir "$name")/number ]] || fail 80 GUEST_NODE_DELETE "retrieve: Could not find node ${words[2]:-}"
            lock
            step 0 Deleting "Deleting node ${words[2]} from cluster $profile"
            strictly node_deleted "$name" >>"$LOGS/minikube.log" 2>&1 || fail 80 GUEST_NODE_DELETE "see $LOGS/minikube.log"
            step 1 Done "Node ${words[2]} was successfully deleted."
            ;;
        *) fail 14 MK_USAGE "this stand-in has: node list, node add, node delete" ;;
    esac
}

service() {
    local port
    port=$(kubectl_bed -n "$namespace" get service "${words[1]:-}" -o 'jsonpath={range .spec.ports[*]}{.nodePort}{"\n"}{end}') ||
        fail 115 SVC_NOT_FOUND "Service '${words[1]:-}' was not found in '$namespace' namespace."
    for port in $port; do echo "http://$(node_ip 0):$port"; done
}

read_arguments "$@"
case ${words[0]} in
    start) start ;;
    stop) stop ;;
    delete) delete ;;
    image) image ;;
    node) node ;;
    service) service ;;
    update-context) cp -f "$(node_dir "$PROFILE")/kubeconfig" "$STATE/kubeconfig" ;;
    kubectl)
        ((${#behind[@]})) || behind=("${words[@]:1}")
        kubectl_bed "${behind[@]}"
        ;;
    *) fail 14 MK_USAGE "this stand-in does not have: ${words[*]}" ;;
esac
