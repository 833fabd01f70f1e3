#!/bin/bash
# Restore a dump: restore.sh FILE, or - for standard input. It becomes the database DATABASE (default lilm); what was
# there before is kept beside it under another name, and left alone if anything fails. Run as the server's superuser,
# on its own machine:
#
#   docker compose exec postgres /deploy/restore.sh /dumps/lilm-20261121T030000Z.dump
#   docker compose exec -T postgres /deploy/restore.sh - < lilm-20261121T030000Z.dump
set -euo pipefail

DATABASE=${DATABASE:-lilm}
export PGUSER=${PGUSER:-postgres}
here=$(cd "$(dirname "$0")" && pwd)
stamp=$(date -u +%Y%m%d%H%M%S)
fresh=${DATABASE}_restored_$stamp
before=${DATABASE}_before_$stamp

fail() {
    echo "restore: $*" >&2
    exit 1
}

sql() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname postgres \
        --set old="$DATABASE" --set fresh="$fresh" --set before="$before"
}

# undo: after a failure, all as it was
undo() {
    sql << 'END'
DROP DATABASE IF EXISTS :"fresh" WITH (FORCE);
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database WHERE datname = :'old' \gexec
END
}

# done_with: the copy of standard input goes, come what may
done_with() {
    rm -f ${copied:+"$copied"}
}

file=${1:-}
copied=
if [[ $file == - ]]; then
    copied=$(mktemp)
    trap done_with EXIT
    cat > "$copied"
    file=$copied
fi
[[ -n $file && -r $file ]] || fail "name one dump that can be read; there are: $(find /dumps -name '*.dump' 2> /dev/null | sort | tr '\n' ' ')"
pg_restore --list "$file" > /dev/null || fail "$1 is no whole dump"

echo 'CREATE DATABASE :"fresh" TEMPLATE template0;' | sql
trap 'undo; done_with' EXIT
"$here/roles.sh" "$fresh"
pg_restore --dbname "$fresh" --role lilm --no-owner --no-privileges --exit-on-error --single-transaction "$file"
psql --no-psqlrc --quiet --dbname "$fresh" --command "ANALYZE"

# Clients of the old one are sent away; workers come back by themselves.
sql << 'END'
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'old') AS there \gset
\if :there
ALTER DATABASE :"old" ALLOW_CONNECTIONS false;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'old' \g /dev/null
ALTER DATABASE :"old" RENAME TO :"before";
ALTER DATABASE :"before" ALLOW_CONNECTIONS true;
\endif
ALTER DATABASE :"fresh" RENAME TO :"old";
END
trap done_with EXIT
echo "restored: $1 is the database $DATABASE; what was there before is kept as $before"
