#!/usr/bin/env bash
# Lints both charts, renders them in the ways they are used, and sees that wrong values are refused.
#
#   charts/check.sh [HELM…]     with every Helm that is named (default: helm)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

passed=0 failed=0

# check NAME COMMAND… : its output is shown only when it fails
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL  %s\n%s\n' "$name" "$output"
    fi
}

refused() { ! "$@"; }

# shows TEXT COMMAND… : the command succeeds and TEXT is a part of what it prints
shows() {
    local text=$1 output
    shift
    output=$("$@") && [[ $output == *"$text"* ]] || { echo "not to be found: $text" && return 1; }
}

lacks() {
    local text=$1 output
    shift
    output=$("$@") && [[ $output != *"$text"* ]] || { echo "should not be there: $text" && return 1; }
}

for helm in "${@:-helm}"; do
    echo "== $("$helm" version --short)"
    todo=("$helm" template todo todo-chatbot --namespace somewhere)
    database=("$helm" template todo-db todo-database --namespace somewhere)

    for chart in todo-chatbot todo-database; do
        for kubernetes in 1.20.0 1.35.0; do
            check "lint $chart for Kubernetes $kubernetes" \
                "$helm" lint --strict --kube-version "$kubernetes" "$chart"
        done
        check "$chart refuses an old cluster" refused "$helm" template x "$chart" --kube-version 1.19.0
        check "$chart refuses a value that does not exist" refused "$helm" template x "$chart" --set imgae.tag=1
    done

    check "the backend's service has the agreed name" shows "name: todo-backend" "${todo[@]}"
    check "the frontend's service has the agreed name" shows "name: todo-frontend" "${todo[@]}"
    check "the database's service has the agreed name" shows "name: todo-db" "${database[@]}"
    check "the image is put together" shows 'image: "r/backend:k-1"' \
        "${todo[@]}" --set backend.image.repository=r/backend --set-string backend.image.tag=k-1
    check "a tag of digits stays a string" shows 'image: "todo-backend:123456789012"' \
        "${todo[@]}" --set-string backend.image.tag=123456789012
    check "a password is escaped in the URL" shows 'postgresql://todo:a%20b%2Fc%40%25d@todo-db:5432/todo' \
        "${todo[@]}" --set 'database.password=a b/c@%d'
    check "a fixed node port" shows "nodePort: 30300" "${todo[@]}" --set frontend.service.nodePort=30300
    check "no node port with a ClusterIP" lacks "nodePort: 30300" \
        "${todo[@]}" --set frontend.service.nodePort=30300 --set frontend.service.type=ClusterIP
    check "probes go below the base path" shows "path: /todo/healthz" "${todo[@]}" --set frontend.basePath=/todo
    check "no storage class means the default one" lacks storageClassName "${database[@]}"
    check "a storage class" shows "storageClassName: fast" "${database[@]}" --set storage.className=fast

    for wrong in frontend.replicaCount=-1 frontend.replicaCount=two frontend.service.type=Magic \
        frontend.service.nodePort=80 frontend.basePath=todo backend.image.tag=a/b database.password=null; do
        check "refuses $wrong" refused "${todo[@]}" --set "$wrong"
    done

    first=$("${todo[@]}" | sha256sum)
    check "renders the same every time" test "$first" = "$("${todo[@]}" | sha256sum)"
done

echo "$passed passed, $failed failed"
((failed == 0))
