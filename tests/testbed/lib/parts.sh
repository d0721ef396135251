# shellcheck shell=bash
# The heavy things that the bed is made of: each is a folder in the cache, made once. Makes several side by side, says
# how long the rest will take, and keeps the CPU seconds that each one cost.

# part NAME SECONDS MAKER [NAME...] : declares one, with the parts that it is made from. SECONDS is the CPU time that it
# took on the machine where it was measured.
declare -A PART_SECONDS=() PART_MAKER=() PART_NEEDS=()
part() {
    PART_SECONDS[$1]=$2
    PART_MAKER[$1]=$3
    PART_NEEDS[$1]=${*:4}
}

# part_ready NAME : what it is made from is there
part_ready() {
    local need
    for need in ${PART_NEEDS[$1]}; do [[ -d $CACHE/$need ]] || return 1; done
}

COSTS=$CACHE/.costs # a file for each part: user, system and elapsed seconds
PART_LANES=2

# parts_made NAME... : those that are missing, in this order, two at a time
parts_made() {
    local name pid at now last=0 failed='' began=$SECONDS
    local -a missing=()
    local -A running=() started=()
    for name; do
        [[ -n ${PART_MAKER[$name]:-} ]] || die "unknown part: $name"
        [[ -d $CACHE/$name ]] || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    mkdir -p "$COSTS" "$LOGS"
    parts_left=0 parts_done=0
    for name in "${missing[@]}"; do parts_left=$((parts_left + PART_SECONDS[$name])); done
    say "${#missing[@]} parts to make, $(time_left "$began")"
    while ((${#missing[@]} || ${#running[@]})); do
        if ((${#running[@]} < PART_LANES)) && [[ -z $failed ]]; then
            for at in "${!missing[@]}"; do
                name=${missing[at]}
                part_ready "$name" || continue
                unset "missing[$at]"
                say "making $name; $(time_left "$began")"
                part_made "$name" &
                running[$!]=$name started[$name]=$SECONDS
                continue 2
            done
            ((${#running[@]})) || die "nothing is there from which to make ${missing[*]}"
        fi
        [[ -z $failed ]] || missing=()
        for pid in "${!running[@]}"; do
            [[ -d /proc/$pid ]] && [[ $(cut -d' ' -f3 "/proc/$pid/stat" 2>/dev/null) != Z ]] && continue
            name=${running[$pid]}
            unset "running[$pid]"
            if wait "$pid"; then
                parts_left=$((parts_left - PART_SECONDS[$name])) parts_done=$((parts_done + PART_SECONDS[$name]))
                last=$SECONDS
                say "made $name ($(part_cost "$name")); $(time_left "$began")"
            else
                failed=$name
            fi
        done
        now=$SECONDS
        if ((now - last >= 60 && ${#running[@]})); then
            last=$now
            say "still making ${running[*]}; $(time_left "$began")"
        fi
        sleep 0.2
    done
    [[ -z $failed ]] || die "could not make $failed"
}

# time_left BEGAN : from the shares of what is done and what is left, and the speed of this machine so far. A part that
# is being made counts as done by the time that it has had.
time_left() {
    local elapsed=$((SECONDS - $1)) seconds name had begun=0
    for name in "${running[@]}"; do
        had=$((SECONDS - started[$name]))
        ((had <= PART_SECONDS[$name] * 9 / 10)) || had=$((PART_SECONDS[$name] * 9 / 10))
        begun=$((begun + had))
    done
    seconds=$(((parts_left - begun) / PART_LANES))
    ((parts_done + begun <= 120)) || seconds=$((elapsed * (parts_left - begun) / (parts_done + begun)))
    if ((seconds < 60)); then echo "less than a minute left"; else echo "about $(((seconds + 30) / 60)) minutes left"; fi
}

part_made() {
    local name=$1 log=$LOGS/$1.log rc=0 TIMEFORMAT='%U %S %R'
    { time strictly cached "$name" "${PART_MAKER[$name]}" >"$log" 2>&1 </dev/null 9>&-; } 2>"$COSTS/$name.new" || rc=$?
    if ((rc)); then
        show_log "$log"
        rm -f -- "$COSTS/$name.new"
        return "$rc"
    fi
    mv -f -- "$COSTS/$name.new" "$COSTS/$name"
}

part_cost() { awk '{printf "%.0f CPU seconds, %.0f elapsed", $1 + $2, $3}' "$COSTS/$1"; }

# parts_table : what each part cost, the dearest first
parts_table() {
    local file
    for file in "$COSTS"/*; do
        [[ -f $file ]] && awk -v name="${file##*/}" '{printf "%-40s %7.0f %7.0f\n", name, $1 + $2, $3}' "$file"
    done | sort -k2,2nr | awk 'BEGIN {printf "%-40s %7s %7s\n", "part", "CPU s", "elapsed"} {print; sum += $2}
        END {printf "%-40s %7.0f\n", "all", sum}'
}
