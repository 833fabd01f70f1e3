"""Rights of a worker's role: on the rows of its own study only. The database's owner installs them once.

Rights are granted to one group per database, of which every credential is a member. Row security, which doesn't bind
the tables' owner and superusers, limits them to rows. Its rules name no role, so that a backup can be restored on a
server that has none of the roles, and the database can be renamed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from storage.access.json_guard import BEAT, FLOAT, JSON, READABLE, TIME

GROUPS = "lilm_workers_"
"""Prefix of the groups' names, on the whole server."""

OWN_STUDY = "((SELECT lilm_studies()) IS NULL OR study_id = ANY ((SELECT lilm_studies())::integer[]))"
NOT_A_WORKER = "(SELECT lilm_studies()) IS NULL"
OWN_TRIAL = "EXISTS (SELECT FROM trials t WHERE t.trial_id = {table}.trial_id)"  # whose own rule is OWN_STUDY
UNFINISHED = "EXISTS (SELECT FROM trials t WHERE t.trial_id = {table}.trial_id AND t.state IN ('WAITING', 'RUNNING'))"
UNFAILED = "EXISTS (SELECT FROM trials t WHERE t.trial_id = {table}.trial_id AND t.state <> 'FAIL')"
OWNER_KEYS = "(key IN ('id', 'plan', 'confirms', 'confirmed_in', 'remade') OR starts_with(key, 'lessons'))"
FIXED_KEYS = "(key IN ('text_sha256', 'hardware') OR starts_with(key, 'tokenizer:'))"
"""Study attributes that the first worker sets; later ones may not change them."""
DASHBOARD_KEYS = "(starts_with(key, 'dashboard:') OR starts_with(key, 'artifacts:'))"

TIMES = " AND ".join(TIME.format(column=column) for column in ("datetime_start", "datetime_complete"))
VALUE, REPORT = FLOAT.format(column="value"), FLOAT.format(column="intermediate_value")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rights on a table: the columns that may be inserted and updated, and the rows."""

    rows: str = OWN_STUDY
    """SQL condition on the rows that can be read."""
    insert: tuple[str, ...] = ()
    """Columns that may be inserted."""
    insert_check: str = "true"
    """SQL condition on an inserted row."""
    update: tuple[str, ...] = ()
    """Columns that may be updated."""
    update_check: str = "true"
    """SQL condition on an updated row."""
    sequence: str = ""
    """Serial column, which may not be inserted: a number used early would make other studies' inserts fail."""


_ATTRIBUTE = ("key", "value_json")
_WORKER = ("machine", "launch", "device", "reference", "usd_per_hour", "started", "seen", "ended")

TABLES: Mapping[str, Table] = {
    # Optuna locks a study's row, for which the right to update a column is needed; the check lets nothing change.
    "studies": Table(update=("study_id",), update_check=NOT_A_WORKER),
    "study_directions": Table(),
    "study_user_attributes": Table(
        insert=("study_id", *_ATTRIBUTE),
        insert_check=f"({NOT_A_WORKER} OR NOT {OWNER_KEYS}) AND {JSON}",
        update=("value_json",),
        update_check=f"({NOT_A_WORKER} OR NOT ({OWNER_KEYS} OR {FIXED_KEYS})) AND {JSON}",
        sequence="study_user_attribute_id",
    ),
    "study_system_attributes": Table(
        insert=("study_id", *_ATTRIBUTE),
        insert_check=f"({NOT_A_WORKER} OR {DASHBOARD_KEYS}) AND {JSON}",
        update=("value_json",),
        update_check=f"({NOT_A_WORKER} OR {DASHBOARD_KEYS}) AND {JSON}",
        sequence="study_system_attribute_id",
    ),
    "trials": Table(
        insert=("number", "study_id", "state", "datetime_start", "datetime_complete"),
        insert_check=TIMES,
        update=("number", "state", "datetime_start", "datetime_complete"),
        update_check=TIMES,
        sequence="trial_id",
    ),
    "trial_user_attributes": Table(
        rows=OWN_TRIAL,
        insert=("trial_id", *_ATTRIBUTE),
        insert_check=f"{UNFINISHED} AND {JSON}",
        update=("value_json",),
        update_check=f"{UNFINISHED} AND {JSON}",
        sequence="trial_user_attribute_id",
    ),
    "trial_system_attributes": Table(
        rows=OWN_TRIAL,
        insert=("trial_id", *_ATTRIBUTE),
        insert_check=f"{UNFINISHED} AND {JSON}",
        update=("value_json",),
        update_check=f"{UNFINISHED} AND {JSON}",
        sequence="trial_system_attribute_id",
    ),
    "trial_params": Table(
        rows=OWN_TRIAL,
        insert=("trial_id", "param_name", "param_value", "distribution_json"),
        insert_check=UNFINISHED,
        sequence="param_id",
    ),
    # Optuna writes a trial's end before its value, in one transaction.
    "trial_values": Table(
        rows=OWN_TRIAL,
        insert=("trial_id", "objective", "value", "value_type"),
        insert_check=f"{UNFAILED} AND {VALUE}",
        update=("value", "value_type"),
        update_check=f"{UNFINISHED} AND {VALUE}",
        sequence="trial_value_id",
    ),
    "trial_intermediate_values": Table(
        rows=OWN_TRIAL,
        insert=("trial_id", "step", "intermediate_value", "intermediate_value_type"),
        insert_check=f"{UNFINISHED} AND {REPORT}",
        update=("intermediate_value", "intermediate_value_type"),
        update_check=f"{UNFINISHED} AND {REPORT}",
        sequence="trial_intermediate_value_id",
    ),
    "trial_heartbeats": Table(
        rows=OWN_TRIAL,
        insert=("trial_id", "heartbeat"),
        insert_check=f"{UNFINISHED} AND {BEAT}",
        update=("heartbeat",),
        update_check=f"{UNFINISHED} AND {BEAT}",
        sequence="trial_heartbeat_id",
    ),
    "lilm_artifacts": Table(insert=("study_id", "artifact_id", "part", "content")),
    "lilm_workers": Table(
        insert=("study_id", "name", *_WORKER),
        update=_WORKER,
        update_check=f"{NOT_A_WORKER} OR role = current_user",
    ),
    "lilm_credentials": Table(rows="role = current_user"),
}
OPEN_TABLES = ("version_info", "alembic_version")
"""Optuna's own bookkeeping, which every client reads."""

# The studies that the user may work on; null for a user who isn't a worker, and has the rights that the owner granted.
# A user with a credential, or in any of the groups, is a worker; or workers of a renamed database would be owners.
# It also ends a session's rights once its credential has expired: PostgreSQL itself checks that at login only.
STUDIES = """
CREATE OR REPLACE FUNCTION lilm_studies() RETURNS integer[] LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_temp
AS $$
DECLARE
    found integer[];
    expiry timestamptz;
BEGIN
    IF has_table_privilege('lilm_credentials', 'SELECT') THEN
        SELECT array_agg(study_id), min(expires) INTO found, expiry FROM lilm_credentials WHERE role = current_user;
    END IF;
    IF found IS NULL
        AND EXISTS (SELECT FROM pg_roles WHERE starts_with(rolname, '{groups}') AND pg_has_role(oid, 'MEMBER')) THEN
        RAISE EXCEPTION 'the credential % was revoked', current_user USING ERRCODE = '28000';
    ELSIF expiry <= now() THEN
        RAISE EXCEPTION 'the credential % expired at %', current_user, expiry USING ERRCODE = '28000';
    END IF;
    RETURN found;
END
$$
"""

# Finished trials don't change, and a trial keeps its number: Optuna's own rules, for clients without Optuna.
KEEP_FINISHED = """
CREATE OR REPLACE FUNCTION lilm_keep_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF row_security_active(TG_RELID) THEN
        RAISE EXCEPTION 'trial % has ended, or has its number: neither can change', OLD.trial_id
            USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS lilm_keep_finished ON trials;
CREATE TRIGGER lilm_keep_finished BEFORE UPDATE ON trials FOR EACH ROW
    WHEN (OLD.state NOT IN ('WAITING', 'RUNNING') OR OLD.number <> NEW.number)
    EXECUTE FUNCTION lilm_keep_finished()
"""


def install(connection: sa.Connection, groups: Iterable[str]) -> None:
    """Grant the groups a worker's rights, and install the rules that limit them to rows.

    Installing locks every table for a moment, so that it is left out while the rules are the same.
    """
    schema = quoted(connection, _schema(connection))
    rules = list(_rules(schema))
    version = hashlib.sha256("\n".join(rules).encode()).hexdigest()[:16]
    if not _installed(connection, version):
        for statement in (*rules, f"COMMENT ON FUNCTION lilm_studies() IS '{version}'"):
            run(connection, statement)
    for group in groups:
        for statement in _grants(quoted(connection, group), schema):
            run(connection, statement)


# Whether the rules are all installed: an owner may have removed some to alter a table.
STANDING = sa.text(
    """
    SELECT coalesce(obj_description(to_regproc('lilm_studies'), 'pg_proc') = :version, false)
       AND (SELECT count(*) = :policies FROM pg_policies WHERE schemaname = :schema AND policyname LIKE 'lilm_%')
       AND (SELECT count(*) = :tables FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = :schema AND relname = ANY (:names) AND relrowsecurity)
       AND EXISTS (SELECT FROM pg_trigger WHERE tgname = 'lilm_keep_finished' AND tgenabled = 'O')
    """
)


def _installed(connection: sa.Connection, version: str) -> bool:
    policies = sum(1 + bool(t.insert) + bool(t.update) for t in TABLES.values())
    expected = {"version": version, "policies": policies, "tables": len(TABLES), "names": list(TABLES)}
    return bool(connection.scalar(STANDING, {**expected, "schema": _schema(connection)}))


def _rules(schema: str) -> Iterator[str]:
    yield STUDIES.format(schema=schema, groups=GROUPS)
    yield from (KEEP_FINISHED, READABLE)
    for name, table in TABLES.items():
        rows = table.rows.format(table=name)
        yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        for policy in ("read", "add", "change"):
            yield f"DROP POLICY IF EXISTS lilm_{policy} ON {name}"
        yield f"CREATE POLICY lilm_read ON {name} FOR SELECT USING ({rows})"
        if table.insert:
            check = table.insert_check.format(table=name)
            yield f"CREATE POLICY lilm_add ON {name} FOR INSERT WITH CHECK ({rows} AND ({check}))"
        if table.update:
            check = table.update_check.format(table=name)
            yield f"CREATE POLICY lilm_change ON {name} FOR UPDATE USING ({rows}) WITH CHECK ({rows} AND ({check}))"


def _grants(group: str, schema: str) -> Iterator[str]:
    yield f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {group}"
    for name in OPEN_TABLES:
        yield f"GRANT SELECT ON {name} TO {group}"
    for name, table in TABLES.items():
        yield f"REVOKE ALL ON {name} FROM {group}"
        yield f"GRANT SELECT ON {name} TO {group}"
        if table.insert:
            yield f"GRANT INSERT ({', '.join(table.insert)}) ON {name} TO {group}"
        if table.update:
            yield f"GRANT UPDATE ({', '.join(table.update)}) ON {name} TO {group}"
        if table.sequence:
            yield f"GRANT USAGE ON SEQUENCE {name}_{table.sequence}_seq TO {group}"


def close_databases(connection: sa.Connection, groups: Iterable[str]) -> None:
    """Let only the groups, and roles with a grant of their own, connect to this database.

    To the owner's other databases only roles with a grant may connect.
    """
    database = connection.scalar(sa.text("SELECT current_database()"))
    owned = "SELECT datname FROM pg_database WHERE datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    for name in connection.execute(sa.text(owned)).scalars().all():
        run(connection, f"REVOKE CONNECT, TEMPORARY ON DATABASE {quoted(connection, name)} FROM PUBLIC")
    for group in groups:
        run(connection, f"GRANT CONNECT ON DATABASE {quoted(connection, database)} TO {quoted(connection, group)}")


def gaps(connection: sa.Connection, role: str) -> list[str]:
    """Return what a credential can do beyond its study because others own the databases or schemas, with the cure.

    Each is a sentence.
    """
    open_databases = sa.text(
        "SELECT datname FROM pg_database WHERE datallowconn AND datname <> current_database() "
        "AND has_database_privilege(:role, oid, 'CONNECT') ORDER BY datname"
    )
    sentences = [
        f'it may connect to the database {name}: REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC'
        for name in connection.execute(open_databases, {"role": role}).scalars()
    ]
    here = sa.text(
        "SELECT has_database_privilege(:role, current_database(), 'TEMPORARY'), "
        "has_schema_privilege(:role, current_schema(), 'CREATE')"
    )
    temporary, create = connection.execute(here, {"role": role}).one()
    if temporary:
        sentences.append("it may create temporary tables: REVOKE TEMPORARY ON DATABASE … FROM PUBLIC, as its owner")
    if create:
        sentences.append("it may create tables: REVOKE CREATE ON SCHEMA public FROM PUBLIC, as a superuser")
    return sentences


def _schema(connection: sa.Connection) -> str:
    query = (
        "SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.oid = 'studies'::regclass"
    )
    return str(connection.scalar(sa.text(query)))


def run(connection: sa.Connection, statement: str) -> None:
    """Run a statement in which all names are quoted, and % stands for itself."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def quoted(connection: sa.Connection, name: str) -> str:
    """Return a name quoted for a statement."""
    return str(connection.dialect.identifier_preparer.quote_identifier(name))
