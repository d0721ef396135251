# shellcheck shell=bash
# The stand-in's commands that change something or need a child process. Called by ../bin/minikube, which has already
# looked whether the profile exists and, where needed, runs.
set -euo pipefail
# shellcheck source=all.sh
. "$(dirname "${BASH_SOURCE[0]}")/all.sh"

profile=$MINIKUBE_STAND_IN_PROFILE
output=text format=short namespace=default url=no force=no native=true node=''
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
                --native-ssh | --no-kubernetes | --download-only | --dry-run | --delete-on-failure | --cancel-scheduled | --https)
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
                # What follows the first word after `ssh` is the command, flags and all.
                if [[ ${words[0]} == ssh ]] && ((${#words[@]} > 1)); then
                    behind=("${words[@]:1}" "$@")
                    return
                fi
                continue
                ;;
        esac
        (($#)) && shift
        case $name in
            -o | --output) output=$value ;;
            --format) format=$value ;;
            --native-ssh) native=$value ;;
            --node) node=$value ;;
            -n | --namespace | --nodes) if [[ ${words[0]:-} == ssh ]]; then node=$value; elif [[ ${words[0]:-} == start ]]; then nodes=$value; else namespace=$value; fi ;;
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

# fail CODE REASON TEXT : as minikube ends: the reason, and below it a box
fail() {
    if [[ $output == json ]]; then
        jq -cn --arg code "$1" --arg name "$2" --arg text "$3" '{specversion: "1.0", id: "stack-testbed-error",
            source: "https://minikube.sigs.k8s.io/", type: "io.k8s.sigs.minikube.error",
            datacontenttype: "application/json",
            data: {exitcode: $code, message: $text, name: $name, advice: "", issues: "", url: ""}}'
    else
        cat >&2 <<TEXT

X Exiting due to $2: $3
* 
╭─────────────────────────────────────────────────────────────────────────────────────────────╮
│                                                                                             │
│    * If the above advice does not help, please let us know:                                 │
│      https://github.com/kubernetes/minikube/issues/new/choose                               │
│                                                                                             │
│    * Please run \`minikube logs --file=logs.txt\` and attach logs.txt to the GitHub issue.    │
│                                                                                             │
╰─────────────────────────────────────────────────────────────────────────────────────────────╯
TEXT
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

machine_read() {
    BED_DRIVER=docker BED_RUNTIME=containerd
    # shellcheck disable=SC1091
    [[ ! -r $STATE/machine.env ]] || . "$STATE/machine.env"
}

start() {
    local new=''
    require_bed
    [[ $profile == "$PROFILE" ]] ||
        fail 80 GUEST_PROVISION "this stand-in has only the profile \"$PROFILE\", not \"$profile\""
    machine_read
    cluster_exists || new=yes
    if [[ -n $driver && $driver != "$BED_DRIVER" && $driver != auto ]]; then
        [[ -n $new ]] || fail 81 GUEST_DRIVER_MISMATCH "The existing \"$profile\" cluster was created using the \"$BED_DRIVER\" driver, which is incompatible with requested \"$driver\" driver."
        fail 56 DRV_UNSUPPORTED_OS "The driver '$driver' is not supported by this stand-in: only docker is"
    fi
    [[ -z $runtime || $runtime == "$BED_RUNTIME" || $runtime == auto ]] ||
        fail 14 MK_USAGE "Invalid Container Runtime for this stand-in: \"$runtime\". Valid runtimes are: [$BED_RUNTIME]"
    [[ -z $nodes || $nodes =~ ^[1-9]$ ]] || fail 14 MK_USAGE "invalid number of nodes: $nodes"
    case $version in
        '' | stable | latest | "v$KUBERNETES_VERSION" | "$KUBERNETES_VERSION") ;;
        *) echo "! this stand-in has Kubernetes v$KUBERNETES_VERSION only, not $version" >&2 ;;
    esac

    lock
    step 0 'Initial Minikube Setup' "[$profile] minikube v1.38.1 (stand-in of stack's test bed)"
    if [[ -n $new ]]; then
        step 1 'Selecting Driver' 'Using the docker driver based on user configuration'
        {
            [[ -z $cpus || $cpus == max || $cpus == no-limit ]] || echo "BED_CPUS=$cpus"
            [[ -z $memory || $memory == max || $memory == no-limit ]] || echo "BED_MEMORY=$(megabytes "$memory")"
            [[ -z $disk ]] || echo "BED_DISK=$(megabytes "$disk")"
        } | write "$STATE/machine.env"
        step 3 'Starting Node' "Starting \"$profile\" primary control-plane node in \"$profile\" cluster"
        step 8 'Creating Container' "Creating docker container (CPUs=${cpus:-2}, Memory=${memory:-6144}MB) ..."
    else
        step 1 'Selecting Driver' 'Using the docker driver based on existing profile'
        step 3 'Starting Node' "Starting \"$profile\" primary control-plane node in \"$profile\" cluster"
    fi
    step 11 'Preparing Kubernetes' "Preparing Kubernetes v$KUBERNETES_VERSION on containerd ..."
    : >"$STATE/starting"
    echo running | write "$STATE/intent"
    # Its progress is for the log; `minikube` has its own words.
    strictly cluster_started 2>>"$LOGS/minikube.log" ||
        fail 80 GUEST_START "failed to start node: see $LOGS/minikube.log"
    context_written
    rm -f -- "$STATE/starting"
    step 15 'Verifying Kubernetes' 'Verifying Kubernetes components...'
    step 19 Done "Done! kubectl is now configured to use \"$profile\" cluster and \"default\" namespace by default"
}

# context_written : into the caller's kubeconfig, as the current context
context_written() { profile_context "${KUBECONFIG:-${HOME:-/root}/.kube/config}"; }

stop() {
    local name
    lock
    step 0 Stopping "Stopping node \"$profile\"  ..."
    echo stopped | write "$STATE/intent"
    strictly unpaused 2>>"$LOGS/minikube.log" || true
    for name in "${NODES[@]}"; do host_docker stop --timeout 3 "$name" >/dev/null 2>>"$LOGS/minikube.log" & done
    wait
    profile_context_removed "${KUBECONFIG:-${HOME:-/root}/.kube/config}"
    step 3 Done "${#NODES[@]} nodes stopped."
}

# Of the cluster, minikube pauses the kubelets and what runs in some namespaces of its own.
pause() {
    lock
    step 0 Pausing "Pausing node $profile ..."
    echo paused | write "$STATE/intent"
    strictly paused >>"$LOGS/minikube.log" 2>&1 || fail 80 GUEST_PAUSE "see $LOGS/minikube.log"
    step 1 Done "Paused 8 containers in: kube-system, kubernetes-dashboard, istio-operator"
}

unpause() {
    lock
    step 0 Unpausing "Unpausing node $profile ..."
    strictly unpaused >>"$LOGS/minikube.log" 2>&1 || fail 80 GUEST_UNPAUSE "see $LOGS/minikube.log"
    echo running | write "$STATE/intent"
    step 1 Done "Unpaused 8 containers in: kube-system, kubernetes-dashboard, istio-operator"
}

delete() {
    if [[ ! -r $STATE/bed.env || $profile != "$PROFILE" ]] || ! cluster_exists; then
        echo "! \"$profile\" profile does not exist, trying anyways."
        return 0
    fi
    lock
    step 0 Deleting "Deleting \"$profile\" in docker ..."
    echo deleted | write "$STATE/intent"
    rm -f -- "$STATE/machine.env" "$STATE/starting"
    cluster_deleted 2>>"$LOGS/minikube.log"
    profile_context_removed "${KUBECONFIG:-${HOME:-/root}/.kube/config}"
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
        rm | remove) on_every_node ctr -n k8s.io images rm "$(full_name "$name")" ;;
        *) fail 14 MK_USAGE "this stand-in has: image ls, image load, image rm" ;;
    esac
}

# on_every_node COMMAND... : what goes wrong on one is only logged, as minikube does
on_every_node() {
    local name
    for name in "${NODES[@]}"; do
        host_docker exec "$name" "$@" >/dev/null 2>>"$LOGS/minikube.log" || echo "! $name: failed: $*" >&2
    done
}

# One list for all nodes, merged by id: as with minikube, it proves nothing about one of them. With containerd the ids have
# their algorithm in front and sizes are exact.
image_list() {
    local list name
    list=$(for name in "${NODES[@]}"; do host_docker exec "$name" crictl images --output json 2>/dev/null; done |
        jq -cs 'map(.images) | add // [] | group_by(.id) | map({id: .[0].id, size: .[0].size,
            repoDigests: (map(.repoDigests // []) | add | unique), repoTags: (map(.repoTags // []) | add | unique)})')
    case $format in
        json) echo "$list" ;;
        short | '') jq -r '.[].repoTags[]' <<<"$list" | sort -r ;;
        table) jq -r '.[] | .repoTags[0] as $t | "| \($t) | \(.id[7:20]) | \(.size) |"' <<<"$list" ;;
        *) fail 14 MK_USAGE "this stand-in has the formats short, json and table" ;;
    esac
}

# As minikube: the whole image goes through a file first, which stays on the nodes, and what goes wrong on the node's side is
# only logged.
image_load() {
    local archive=$1 name to tmp=''
    if [[ ! -f $1 ]]; then
        tmp=$(mktemp)
        archive=$tmp
        # shellcheck disable=SC2064 # the name of now
        trap "rm -f -- '$tmp'" EXIT
        host_docker save --output "$archive" "$1" 2>/dev/null ||
            fail 80 GUEST_IMAGE_LOAD "Failed to load image: save to dir: caching images: caching image \"$1\": not found in the local daemon"
    fi
    to=/var/lib/minikube/images/$(basename "$1" | tr : _)
    for name in "${NODES[@]}"; do
        host_docker exec "$name" mkdir -p /var/lib/minikube/images
        host_docker exec -i "$name" sh -c "cat >'$to'" <"$archive"
    done
    on_every_node ctr -n k8s.io images import "$to"
}

node() {
    local name
    case ${words[1]:-} in
        list) for name in "${NODES[@]}"; do printf '%s\t%s\n' "$name" "$(node_address "$name")"; done ;;
        *) fail 14 MK_USAGE "this stand-in has: node list" ;;
    esac
}

service() {
    local port
    port=$(bed_kubectl -n "$namespace" get service "${words[1]:-}" -o 'jsonpath={range .spec.ports[*]}{.nodePort}{"\n"}{end}') ||
        fail 115 SVC_NOT_FOUND "Service '${words[1]:-}' was not found in '$namespace' namespace."
    for port in $port; do echo "http://$(node_address "${NODES[0]}"):$port"; done
}

# The native client of minikube always asks for a terminal: what it reads is echoed and edited by lines, 0x03 interrupts,
# its end never arrives, lines end with CRLF, and stderr comes on stdout. The other client is `ssh` with plain pipes.
# Either way a command that fails is exit code 1.
ssh() {
    local to=${NODES[0]} name code file
    if [[ -n $node ]]; then
        to=''
        for name in "${NODES[@]}"; do [[ $node == "$name" || $PROFILE-$node == "$name" ]] && to=$name; done
        [[ -n $to ]] || fail 80 GUEST_NODE_RETRIEVE "retrieving node: Could not find node $node"
    fi
    [[ $(host_docker inspect -f '{{.State.Status}}' "$to") == running ]] ||
        fail 80 GUEST_NODE_NOT_RUNNING "Host \"$to\" is not running"
    if [[ $native == false ]]; then
        host_docker exec -i "$to" sh -c "${behind[*]}" || exit 1
        return
    fi
    file=$(mktemp -d)
    # shellcheck disable=SC2064 # the name of now
    trap "rm -rf -- '$file'" EXIT
    {
        printf 'docker -H %q exec -it %q sh -c %q\n' "${DOCKER_HOST:-unix://$HOST_SOCKET}" "$to" "${behind[*]}"
        # shellcheck disable=SC2016 # expanded there
        printf 'echo $? >%q\n' "$file/code"
    } >"$file/run"
    socat -t 1 'STDIN,ignoreeof!!STDOUT' "EXEC:bash $file/run,pty,setsid,ctty,raw,echo=0" || true
    code=$(cat "$file/code")
    [[ $code == 0 ]] && return
    case $code in
        130) echo 'ssh: Process exited with status 130 from signal INT' >&2 ;;
        *) echo "ssh: Process exited with status $code" >&2 ;;
    esac
    exit 1
}

read_arguments "$@"
case ${words[0]} in
    start) start ;;
    stop) stop ;;
    pause) pause ;;
    unpause) unpause ;;
    delete) delete ;;
    image) image ;;
    node) node ;;
    service) service ;;
    ssh) ssh ;;
    update-context)
        context_written
        echo "* \"$profile\" context has been updated to point to $(node_address "${NODES[0]}"):6443"
        echo "* Current context is \"$profile\""
        ;;
    kubectl)
        ((${#behind[@]})) || behind=("${words[@]:1}")
        bed_kubectl "${behind[@]}"
        ;;
    *) fail 14 MK_USAGE "this stand-in does not have: ${words[*]}" ;;
esac
