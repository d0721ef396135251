# shellcheck shell=bash
# Everything, in the order of who uses whom.
_lib=$(dirname "${BASH_SOURCE[0]}")
for _part in common process cgroups packages host-engine tools kubernetes-build images \
    network certificates node-engine control-plane worker node bed; do
    # shellcheck disable=SC1090
    . "$_lib/$_part.sh"
done
unset _lib _part
