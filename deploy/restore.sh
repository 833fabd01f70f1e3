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

file=${1:-}
scratch=$(mktemp -d)
rights=$scratch/rights
trap 'rm -rf "$scratch"' EXIT
if [[ $file == - ]]; then
    file=$scratch/dump
    cat > "$file"
fi
[[ -n $file && -r $file ]] || fail "name one dump that can be read; there are: $(find /dumps -name '*.dump' 2> /dev/null | sort | tr '\n' ' ')"
pg_restore --list "$file" > /dev/null || fail "$1 is no whole dump"

echo 'CREATE DATABASE :"fresh" TEMPLATE template0;' | sql
trap 'undo; rm -rf "$scratch"' EXIT
"$here/roles.sh" "$fresh"
pg_restore --dbname "$fresh" --role lilm --no-owner --no-privileges --exit-on-error --single-transaction "$file"
# The rights of workers' roles, as far as these roles are on this server: elsewhere they are given anew.
pg_restore --list "$file" | grep ' ACL ' > "$rights" || true
pg_restore --dbname "$fresh" --role lilm --no-owner --use-list "$rights" "$file" 2> /dev/null || true
psql --no-psqlrc --quiet --dbname "$fresh" --command "ANALYZE"

# Clients of the old one are sent away; workers come back by themselves.
sql << 'END'
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'old') AS there \gset
\if :there
ALTER DATABASE :"old" ALLOW_CONNECTIONS false;
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', :'fresh', rolname) FROM pg_database, aclexplode(datacl), pg_roles
    WHERE datname = :'old' AND pg_roles.oid = grantee AND privilege_type = 'CONNECT' \gexec
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'old' \g /dev/null
ALTER DATABASE :"old" RENAME TO :"before";
ALTER DATABASE :"before" ALLOW_CONNECTIONS true;
\endif
ALTER DATABASE :"fresh" RENAME TO :"old";
END
trap 'rm -rf "$scratch"' EXIT
echo "restored: $1 is the database $DATABASE; what was there before is kept as $before"
