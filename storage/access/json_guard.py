"""Checks of values that a worker writes: one that Optuna or psycopg2 can't read would ruin the study for all."""

# Whether Python can read a JSON text. PostgreSQL's own parser refuses NaN and Infinity, and accepts deeper nesting and
# longer numbers than Python does.
READABLE = r"""
CREATE OR REPLACE FUNCTION lilm_readable(value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bare text := regexp_replace(value, '"(?:[^"\\]|\\.)*"', '0', 'g');
BEGIN
    PERFORM regexp_replace(value, '(^|[\s,:\[])-?(?:NaN|Infinity)(?=\s*(?:$|[],}]))', '\10', 'g')::json;
    IF bare ~ '[0-9]{255}' THEN
        RETURN false;
    END IF;
    FOR depth IN 1..64 LOOP
        EXIT WHEN bare !~ '[][{}]';
        bare := regexp_replace(bare, '\[[^][{}]*\]|\{[^][{}]*\}', '0', 'g');
    END LOOP;
    RETURN bare !~ '[][{}]';
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$
"""
JSON = "lilm_readable(value_json)"
TIME = "coalesce({column} BETWEEN '1970-01-01' AND '9999-01-01', true)"  # infinity is no datetime
FLOAT = "({column} IS NOT NULL) = ({column}_type = 'FINITE')"
BEAT = "heartbeat BETWEEN '1970-01-01' AND clock_timestamp() AT TIME ZONE 'UTC' + interval '1 minute'"
