#!/bin/sh
# The first process of a node: containerd, with its files where the node image has them. On the container that the API server
# is reached through, that too, once containerd answers.
mkdir -p /etc/containerd
containerd config default | sed "s,/var/lib/containerd,${ROOT:-/var/lib/containerd},; s,/run/containerd,${RUN:-/run/containerd}," \
    >/etc/containerd/config.toml
if [ -n "${API:-}" ]; then
    {
        until ctr version >/dev/null 2>&1; do sleep 0.1; done
        exec perl /forward.pl "$API_PORT" "$API"
    } &
fi
exec containerd
