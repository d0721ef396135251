#!/bin/sh
# Makes a cluster on an empty volume, gives the user the password that the environment names, and becomes the server.
set -eu

if [ "${1:-}" != postgres ]; then
    exec "$@"
fi

: "${PGDATA:?}"
: "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
: "${POSTGRES_PASSWORD:?a server without a password would be open to the network}"

config=/etc/todo-database/postgresql.conf

# One statement is one line here, so a line break in a name or a password would end it.
quoted() { printf %s "$2" | tr -d '\n' | sed "s/$1/$1$1/g; s/^/$1/; s/\$/$1/"; }
user=$(quoted '"' "$POSTGRES_USER")
password=$(quoted "'" "$POSTGRES_PASSWORD")
database=$(quoted '"' "$POSTGRES_DB")

# PGDATA is a folder inside of the volume, not the volume itself: beside it lies a lock that the server keeps while it
# lives. `postmaster.pid` cannot tell: it names a process of some earlier container.
exec 9>"$(dirname "$PGDATA")/lock"
flock --wait 10 9 || { echo "entrypoint: another server is using this volume" >&2; exit 1; }
rm -f "$PGDATA/postmaster.pid"

# Statements from standard input, before there is a server that somebody could reach.
run_sql() { postgres --single -D "$1" -c config_file="$config" -c exit_on_error=on postgres >/dev/null; }

# The cluster gets its name when it is complete: one that was broken off half-way is made again.
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    fresh=$PGDATA.fresh
    rm -rf "$fresh"
    initdb --pgdata "$fresh" --username "$POSTGRES_USER" --auth scram-sha-256 --pwfile /dev/stdin \
        --encoding UTF8 --locale C.UTF-8 --no-instructions >/dev/null <<END
$POSTGRES_PASSWORD
END
    if [ "$POSTGRES_DB" != postgres ]; then
        echo "CREATE DATABASE $database OWNER $user" | run_sql "$fresh"
    fi
    mv "$fresh" "$PGDATA"
else
    echo "ALTER ROLE $user PASSWORD $password" | run_sql "$PGDATA"
fi

unset POSTGRES_PASSWORD password
exec "$@" -D "$PGDATA" -c config_file="$config"
