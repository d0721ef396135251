# shellcheck shell=bash
# Control groups, in however many hierarchies this machine has. All of the bed's are below one called like it.

# cgroup_made PATH : in every hierarchy, with the CPUs and memory nodes of its parent (a new cpuset is empty, and an
# empty one takes no process)
cgroup_made() {
    local hierarchy folder part file
    for hierarchy in $(cgroup_roots); do
        folder=$hierarchy
        for part in ${1//\// }; do
            mkdir -p "$folder/$part"
            for file in cpuset.cpus cpuset.mems; do
                if [[ -e $folder/$part/$file && -s $folder/$file && -z $(cat "$folder/$part/$file") ]]; then
                    cat "$folder/$file" >"$folder/$part/$file" || true
                fi
            done
            folder=$folder/$part
        done
    done
}

cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/self/mounts; }

# cgroup_killed PATH : every process in it
cgroup_killed() {
    local hierarchy pid
    for hierarchy in $(cgroup_roots); do
        [[ -d $hierarchy/$1 ]] || continue
        find "$hierarchy/$1" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | while read -r pid; do
            kill -KILL "$pid" 2>/dev/null || true
        done
    done
}

# cgroup_removed PATH : with what is below; only empty ones can be removed
cgroup_removed() {
    local hierarchy
    for hierarchy in $(cgroup_roots); do
        [[ -d $hierarchy/$1 ]] || continue
        find "$hierarchy/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}
