#!/bin/bash
# Dumps of the study's database: whole files only, and as many as are worth keeping.
#
#   backup.sh once      dump now, then delete what need not be kept
#   backup.sh loop      dump whenever the newest is EVERY_HOURS old, for ever
#   backup.sh check     exit 0 if the newest is young enough: the container's health check
#   backup.sh keep      names on standard input, those worth keeping on standard output
#
# Kept are the newest dump of each of the last KEEP_DAYS days and of each of the last KEEP_WEEKS weeks (Monday to
# Sunday, UTC) that have one: days without backups, such as those of a machine switched off, cost none of the old.
# The connection is libpq's own: PGHOST, PGUSER, PGDATABASE, PGPASSFILE, ...
set -euo pipefail
umask 077

FOLDER=${FOLDER:-/dumps}
EVERY_HOURS=${EVERY_HOURS:-24}
KEEP_DAYS=${KEEP_DAYS:-7}
KEEP_WEEKS=${KEEP_WEEKS:-4}
RETRY_SECONDS=600

say() {
    echo "$(date -u +%FT%TZ) backup: $*"
}

names() {
    find "$FOLDER" -maxdepth 1 -type f -name 'lilm-????????T??????Z.dump' -printf '%f\n' | sort
}

# keep: newest first, a name is kept if its day, or its week, is new and there is still room for one
keep() {
    local name day week
    local -A days=() weeks=()
    while read -r name; do
        day=${name:5:8}
        week=$(date -u -d "$day" +%G-%V)
        local wanted=no
        if [[ -z ${days[$day]:-} ]] && ((${#days[@]} < KEEP_DAYS)); then
            days[$day]=1 wanted=yes
        fi
        if [[ -z ${weeks[$week]:-} ]] && ((${#weeks[@]} < KEEP_WEEKS)); then
            weeks[$week]=1 wanted=yes
        fi
        if [[ $wanted == yes ]]; then
            echo "$name"
        fi
    done < <(sort -r)
}

once() {
    local name
    rm -f "$FOLDER"/*.part # of a dump that was cut off
    name=lilm-$(date -u +%Y%m%dT%H%M%SZ).dump
    part=$FOLDER/$name.part
    trap 'rm -f "$part"' EXIT
    pg_dump --format=custom --no-owner --lock-wait-timeout=60s --file "$part"
    pg_restore --list "$part" > /dev/null
    sync "$part"
    mv "$part" "$FOLDER/$name"
    say "$name: $(stat -c %s "$FOLDER/$name") bytes"
    comm -23 <(names) <(names | keep | sort) | while read -r old; do
        rm -f "${FOLDER:?}/$old"
        say "$old deleted"
    done
}

# age: seconds since the newest dump began, or nothing where there is none
age() {
    local newest
    newest=$(names | tail -n 1)
    if [[ -n $newest ]]; then
        echo $(($(date +%s) - $(date -u -d "${newest:5:8} ${newest:14:2}:${newest:16:2}:${newest:18:2}" +%s)))
    fi
}

loop() {
    local old
    trap 'exit 0' TERM INT
    while true; do
        old=$(age)
        if [[ -z $old ]] || ((old >= EVERY_HOURS * 3600)); then
            "$0" once || say "no dump could be made; the next try is in $RETRY_SECONDS s"
        fi
        sleep "$RETRY_SECONDS" &
        wait $!
    done
}

check() {
    local old
    old=$(age)
    [[ -n $old ]] && ((old < EVERY_HOURS * 3600 + 7200))
}

case ${1:-} in
once | loop | check | keep) "$1" ;;
*)
    echo "usage: backup.sh once|loop|check|keep" >&2
    exit 2
    ;;
esac
