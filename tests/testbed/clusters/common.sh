# shellcheck shell=sh
# shellcheck disable=SC2154 # $here is set by those who read this
# How the stand-in for k3d makes clusters. Everything that a cluster is stands in Docker: its containers and their
# labels; here is no state. Read by ./k3d.
#
# STAND_IN_API   HOST:PORT of the API server that answers for every cluster, as plain HTTP
# STAND_IN_LOG   a file that gets a line for each command, and what was read from standard input
# STAND_IN_CUT   a pattern: to the nodes whose names match it only the beginning of an image comes through

record() { [ -z "${STAND_IN_LOG:-}" ] || printf '%s\n' "$*" >>"$STAND_IN_LOG"; }
record "${0##*/}" "$@"

# node NAME IMAGE ARGUMENT... : starts a container with containerd in it. The tools say --privileged, which some sandboxes
# refuse even to root; an image store needs no more than the right to mount. There are no pods and so there is no network of
# the cluster's own: the host's is where the API server listens.
node() {
    container=$1 from=$2
    shift 2
    docker run --detach --name "$container" --hostname "$container" --net host --cgroupns=private \
        --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        --tmpfs /tmp --tmpfs /run --volume /var --volume "$here/node.sh:/node.sh:ro" \
        --volume "$(command -v containerd):/usr/bin/containerd:ro" --volume "$(command -v ctr):/usr/bin/ctr:ro" \
        "$@" "$from" sh /node.sh >/dev/null
}

# reached COMMAND... : with the arguments of `docker run` for the container through which the API server is reached at a port
# of its own, which is then in $port
reached() {
    port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
    "$@" --volume "$here/forward.pl:/forward.pl:ro" --env "API_PORT=$port" --env "API=$STAND_IN_API" \
        --label "stand-in.port=$port"
}

# names LABEL... : the containers that have all these labels, running or not
names() {
    for label; do
        set -- "$@" --filter "label=$label"
        shift
    done
    docker ps --all "$@" --format '{{.Names}}'
}

# write_context CONTEXT LABEL... : into the kubeconfig, of the container that has these labels
write_context() {
    context=$1
    shift
    port=$(docker inspect --format '{{index .Config.Labels "stand-in.port"}}' "$(names "$@" stand-in.port)") || return
    kubectl config set-cluster "$context" --server="http://127.0.0.1:$port" >/dev/null &&
        kubectl config set-credentials "$context" >/dev/null &&
        kubectl config set-context "$context" --cluster="$context" --user="$context" >/dev/null &&
        kubectl config use-context "$context" >/dev/null
}

# remove_context CONTEXT
remove_context() {
    kubectl config delete-context "$1" >/dev/null 2>&1
    kubectl config delete-cluster "$1" >/dev/null 2>&1
    kubectl config delete-user "$1" >/dev/null 2>&1
    [ "$(kubectl config current-context 2>/dev/null)" != "$1" ] || kubectl config unset current-context >/dev/null
    return 0
}

# answers : waits until the API server is reached at $port
answers() {
    until perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new("127.0.0.1:'"$port"'")'; do sleep 0.1; done
}

# is_cut NODE
is_cut() {
    # shellcheck disable=SC2254 # a pattern
    case $1 in ${STAND_IN_CUT:-}) return 0 ;; *) return 1 ;; esac
}
