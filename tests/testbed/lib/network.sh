# shellcheck shell=bash
# Each node is a host of its own on the network: a namespace with one veth to this machine.
# Node number N has 10.123.N.2, this machine is 10.123.N.1 to it, its pods have 10.244.N.0/24.

NODES_CIDR=10.123.0.0/16
PODS_CIDR=10.244.0.0/16
SERVICES_CIDR=10.96.0.0/16

# What is sent to a node, pod or service that is not there (any more) must fail at once, and not leave this machine by
# its default route, to whoever has that address out there.
OUR_CIDRS=("$NODES_CIDR" "$PODS_CIDR" "$SERVICES_CIDR")
ROUTE_METRIC=40961

node_ip() { echo "10.123.$1.2"; }
gateway_ip() { echo "10.123.$1.1"; }
pod_subnet() { echo "10.244.$1.0/24"; }
veth_of() { echo "stb$1"; }

# network_up NAME NUMBER
network_up() {
    local name=$1 number=$2 veth cidr
    veth=$(veth_of "$number")
    sysctl_set net.ipv4.ip_forward 1
    rule nat POSTROUTING -s "$NODES_CIDR" ! -d "$NODES_CIDR" -j MASQUERADE
    # In front of whatever Docker, with its policy of dropping, says about forwarding.
    rule filter FORWARD -s "$NODES_CIDR" -j ACCEPT
    rule filter FORWARD -d "$NODES_CIDR" -j ACCEPT

    for cidr in "${OUR_CIDRS[@]}"; do
        ip route add unreachable "$cidr" metric "$ROUTE_METRIC" 2>/dev/null || true
    done

    # After a crash the name can be there without a namespace behind it.
    if ! nsenter "--net=/run/netns/$name" true 2>/dev/null; then
        umount -l "/run/netns/$name" 2>/dev/null || true
        rm -f -- "/run/netns/$name"
        ip link delete "$veth" 2>/dev/null || true
        ip netns add "$name"
    fi
    if ! ip link show "$veth" >/dev/null 2>&1; then
        ip link add "$veth" type veth peer name eth0 netns "$name"
    fi
    ip addr replace "$(gateway_ip "$number")/24" dev "$veth"
    ip link set "$veth" up
    ip -n "$name" addr replace "$(node_ip "$number")/24" dev eth0
    ip -n "$name" link set lo up
    ip -n "$name" link set eth0 up
    ip -n "$name" route replace default via "$(gateway_ip "$number")"
    nsenter "--net=/run/netns/$name" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
    # What pods send out of the cluster leaves as the node's; the engine's own rules do the same for its bridge.
    node_rule "$name" nat POSTROUTING -s "$(pod_subnet "$number")" ! -d "$PODS_CIDR" -j MASQUERADE
    node_rule "$name" filter FORWARD -s "$PODS_CIDR" -j ACCEPT
    node_rule "$name" filter FORWARD -d "$PODS_CIDR" -j ACCEPT
}

# pod_routes COUNT NUMBER_FILE... : with several nodes, this machine is the router between their pods
pod_routes() {
    local number count=$1
    shift
    if ((count == 1)); then
        # As with minikube, this machine does not reach pods.
        ip route delete "$(pod_subnet "$(cat "$@")")" 2>/dev/null || true
        return 0
    fi
    rule filter FORWARD -s "$PODS_CIDR" -j ACCEPT
    rule filter FORWARD -d "$PODS_CIDR" -j ACCEPT
    for number in $(cat "$@"); do
        ip route replace "$(pod_subnet "$number")" via "$(node_ip "$number")"
    done
}

# network_down NAME NUMBER : the link takes its routes along
network_down() {
    ip link delete "$(veth_of "$2")" 2>/dev/null || true
    ip netns delete "$1" 2>/dev/null || true
    rm -f -- "/run/netns/$1"
}

# What all nodes share on this machine; after the last one is gone.
network_rules_removed() {
    unrule nat POSTROUTING -s "$NODES_CIDR" ! -d "$NODES_CIDR" -j MASQUERADE
    unrule filter FORWARD -s "$NODES_CIDR" -j ACCEPT
    unrule filter FORWARD -d "$NODES_CIDR" -j ACCEPT
    unrule filter FORWARD -s "$PODS_CIDR" -j ACCEPT
    unrule filter FORWARD -d "$PODS_CIDR" -j ACCEPT
    local cidr
    for cidr in "${OUR_CIDRS[@]}"; do ip route delete unreachable "$cidr" metric "$ROUTE_METRIC" 2>/dev/null || true; done
}

# `ip netns` has mounted its folder on itself.
netns_folder_removed() {
    rmdir /run/netns 2>/dev/null && return 0
    [[ -z $(ls -A /run/netns 2>/dev/null) ]] || return 0
    umount /run/netns 2>/dev/null || true
    rmdir /run/netns 2>/dev/null || true
}

# rule TABLE CHAIN SPEC... : inserted in front, once
rule() {
    local table=$1 chain=$2
    shift 2
    iptables -w -t "$table" -C "$chain" "$@" -m comment --comment "$MARK" 2>/dev/null ||
        iptables -w -t "$table" -I "$chain" "$@" -m comment --comment "$MARK"
}

unrule() {
    local table=$1 chain=$2
    shift 2
    have iptables || return 0
    while iptables -w -t "$table" -D "$chain" "$@" -m comment --comment "$MARK" 2>/dev/null; do :; done
}

# node_rule NAME TABLE CHAIN SPEC... : the same inside a node
node_rule() {
    local enter=(nsenter "--net=/run/netns/$1" -- iptables -w -t "$2") chain=$3
    shift 3
    "${enter[@]}" -C "$chain" "$@" -m comment --comment "$MARK" 2>/dev/null ||
        "${enter[@]}" -I "$chain" "$@" -m comment --comment "$MARK"
}

# Settings of the whole machine that dockerd, kubelet and we change. What they were is kept for `down`.
SYSCTLS=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables
    vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

sysctl_file() { echo "/proc/sys/${1//.//}"; }

sysctls_saved() {
    [[ -e $STATE/sysctls ]] && return 0
    local name file
    for name in "${SYSCTLS[@]}"; do
        file=$(sysctl_file "$name")
        [[ ! -r $file ]] || echo "$name $(cat "$file")"
    done | write "$STATE/sysctls"
}

sysctl_set() {
    local file
    file=$(sysctl_file "$1")
    [[ $(cat "$file") == "$2" ]] || echo "$2" >"$file"
}

sysctls_restored() {
    [[ -e $STATE/sysctls ]] || return 0
    local name value
    while read -r name value; do
        # An engine that is not ours needs forwarding on.
        if [[ $name == net.* ]] && engine_answers; then continue; fi
        sysctl_set "$name" "$value" 2>/dev/null || true
    done <"$STATE/sysctls"
    rm -f -- "$STATE/sysctls"
}

# resolvers : the name servers of this machine that a node can reach, a line each
resolvers() {
    local file
    for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
        [[ -r $file ]] || continue
        awk '$1 == "nameserver" && $2 !~ /^127\./ && $2 != "::1" {print $2}' "$file"
    done | awk '!seen[$0]++'
}
