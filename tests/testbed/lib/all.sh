# shellcheck shell=bash
# Everything, in the order of who uses whom.
_lib=$(dirname "${BASH_SOURCE[0]}")
for _part in common process cgroups packages go parts tools engine-build kubernetes-build images node-image \
    network certificates host-engine node-engines registry bed cluster; do
    # shellcheck disable=SC1090
    . "$_lib/$_part.sh"
done
unset _lib _part
