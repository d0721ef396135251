# Usage: generate.sh LIST FILE. Makes a table of routes in Perl from lines `PATH ANSWER`.
set -eu
{
    echo '('
    while read -r path answer; do
        echo "    '$path' => '$answer',"
    done <"$1"
    echo ');'
} >"$2"
echo "$(wc -l <"$1") routes"
