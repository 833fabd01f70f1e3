#!/bin/sh
# Give the database DATABASE (default lilm) its roles, with the passwords that setup.sh wrote.
# Postgres' image runs it on the first start; run it again after a change of LILM_PASSWORD in .env.
set -eu
KEYS=${KEYS:-/tls}
FOLDER=${FOLDER:-/deploy}

# By standard input: what stands on a command line can be read by others on this machine.
{
    printf "\\\\set owner_password '%s'\n" "$(sed "s/['\\\\]/\\\\&/g" "$KEYS/owner_password")"
    printf "\\\\set reader_password '%s'\n" "$(sed "s/['\\\\]/\\\\&/g" "$KEYS/reader_password")"
    cat "$FOLDER/roles.sql"
} | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${PGUSER:-postgres}" --dbname "${1:-lilm}"
