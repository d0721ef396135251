# Sourced by the node's entrypoint just before systemd starts. With cgroup v1, systemd mounts every controller that
# /proc/cgroups names; those that the machine has not mounted would then be the machine's own root in every node.
# undo-mount-hacks.sh shows the true file again before containerd starts.
if [[ ! -f /sys/fs/cgroup/cgroup.controllers ]]; then
    umount /proc/cgroups 2>/dev/null || true
    awk 'NR == 1 || ($2 != 0 && $1 != "misc")' /proc/cgroups >/kind/fake-cgroups
    mount --bind /kind/fake-cgroups /proc/cgroups
fi
