# shellcheck shell=bash
# Hosts for the further engines: a network namespace each, with one veth to this machine.
# Host number N has 10.123.N.2, this machine is 10.123.N.1 to it.

HOSTS_CIDR=10.123.0.0/16

# What is sent to such a host that is not there must fail at once, and not leave this machine by its default route.
ROUTE_METRIC=40961

namespace_ip() { echo "10.123.$1.2"; }
gateway_ip() { echo "10.123.$1.1"; }
veth_of() { echo "stb$1"; }

# namespace_up NAME NUMBER
namespace_up() {
    local name=$1 number=$2 veth
    veth=$(veth_of "$number")
    sysctl_set net.ipv4.ip_forward 1
    rule nat POSTROUTING -s "$HOSTS_CIDR" ! -d "$HOSTS_CIDR" -j MASQUERADE
    # In front of what Docker, with its policy of dropping, says about forwarding.
    rule filter FORWARD -s "$HOSTS_CIDR" -j ACCEPT
    rule filter FORWARD -d "$HOSTS_CIDR" -j ACCEPT
    ip route add unreachable "$HOSTS_CIDR" metric "$ROUTE_METRIC" 2>/dev/null || true

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
    ip -n "$name" addr replace "$(namespace_ip "$number")/24" dev eth0
    ip -n "$name" link set lo up
    ip -n "$name" link set eth0 up
    ip -n "$name" route replace default via "$(gateway_ip "$number")"
    nsenter "--net=/run/netns/$name" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# namespace_down NAME NUMBER : the link takes its routes along
namespace_down() {
    ip link delete "$(veth_of "$2")" 2>/dev/null || true
    ip netns delete "$1" 2>/dev/null || true
    rm -f -- "/run/netns/$1"
}

# What all of them share on this machine; after the last one is gone.
network_rules_removed() {
    unrule nat POSTROUTING -s "$HOSTS_CIDR" ! -d "$HOSTS_CIDR" -j MASQUERADE
    unrule filter FORWARD -s "$HOSTS_CIDR" -j ACCEPT
    unrule filter FORWARD -d "$HOSTS_CIDR" -j ACCEPT
    ip route delete unreachable "$HOSTS_CIDR" metric "$ROUTE_METRIC" 2>/dev/null || true
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

# Settings of the whole machine that dockerd, kubelet and we change. Their values before are kept for `down`.
SYSCTLS=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables
    vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
    kernel.keys.root_maxkeys kernel.keys.root_maxbytes
    fs.inotify.max_user_instances fs.inotify.max_user_watches)

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

# sysctl_at_least NAME NUMBER
sysctl_at_least() {
    (($(cat "$(sysctl_file "$1")") >= $2)) || sysctl_set "$1" "$2"
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
