#!/bin/bash
# The pod network of a node, in place of kind's DaemonSet: writes the CNI configuration with the node's range of pods and
# keeps the routes to the ranges of the other nodes. Asks the API server as the kubelet does.
set -u
pods=10.244.0.0/16 # kind's default
config=/etc/kubernetes/kubelet.conf
certificate=/var/lib/kubelet/pki/kubelet-client-current.pem

configure() { # RANGE
    [[ -e /etc/cni/net.d/10-bed.conflist ]] && return
    mkdir -p /etc/cni/net.d
    cat >/etc/cni/net.d/.new <<JSON
{"cniVersion": "0.4.0", "name": "bed", "plugins": [
    {"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
        "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$1"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
    mv /etc/cni/net.d/.new /etc/cni/net.d/10-bed.conflist
    iptables -w -t nat -C POSTROUTING -s "$1" ! -d "$pods" -j MASQUERADE 2>/dev/null ||
        iptables -w -t nat -A POSTROUTING -s "$1" ! -d "$pods" -j MASQUERADE
}

rm -f /etc/cni/net.d/10-bed.conflist
while :; do
    if [[ -e $config && -e $certificate ]]; then
        server=$(sed -n 's/^ *server: *//p' "$config")
        curl --silent --no-buffer --max-time 3600 --cacert /etc/kubernetes/pki/ca.crt --cert "$certificate" \
            "$server/api/v1/nodes?watch=true&resourceVersion=0" |
            jq --unbuffered -r 'select(.object.spec.podCIDR) | [.type, .object.metadata.name, .object.spec.podCIDR,
                (.object.status.addresses[]? | select(.type == "InternalIP") | .address)] | @tsv' |
            while read -r kind name range address _; do
                if [[ $name == "$(hostname)" ]]; then
                    configure "$range"
                elif [[ $kind == DELETED ]]; then
                    ip route delete "$range" 2>/dev/null
                elif [[ -n $address ]]; then
                    ip route replace "$range" via "$address"
                fi
            done
    fi
    sleep 0.5
done
