# Usage: migrate.sh STATEFULSET. Runs each migration that the database has not seen, in the order of their names.
set -eu
sql() {
    kubectl --context "$CONTEXT" --namespace "$NAMESPACE" exec -i "statefulset/$1" -- \
        sh -c 'PGPASSWORD=$POSTGRES_PASSWORD exec psql --host 127.0.0.1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
            --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --single-transaction'
}
echo 'CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY);' | sql "$1" 2>/dev/null
for file in migrations/*.sql; do
    name=$(basename "$file" .sql)
    if [ -z "$(echo "SELECT 1 FROM migrations WHERE name = '$name';" | sql "$1")" ]; then
        echo "$name"
        { cat "$file"; echo "INSERT INTO migrations VALUES ('$name');"; } | sql "$1"
    fi
done
