# shellcheck shell=bash
# A registry without TLS, at an address of this machine that containers, nodes and the further engines reach.

REGISTRY_ADDRESS=10.123.0.1:5000 # gateway_ip of the first namespace; also in the node image

registry_up() {
    alive "$HOST" registry && return 0
    mkdir -p "$STATE/registry"
    write "$STATE/registry.yml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $STATE/registry}, delete: {enabled: true}}
http: {addr: "$REGISTRY_ADDRESS"}
log: {level: warn, accesslog: {disabled: true}}
YAML
    start_process "$HOST" registry '' "$REGISTRY/docker-registry" serve "$STATE/registry.yml"
    await "$HOST" registry 20 "the registry does not answer" registry_answers
}

registry_answers() { (exec 3<>"/dev/tcp/${REGISTRY_ADDRESS%:*}/${REGISTRY_ADDRESS#*:}") 2>/dev/null; }

registry_down() { stop_process "$HOST" registry 5; }
