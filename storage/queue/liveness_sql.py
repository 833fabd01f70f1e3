"""Signs of life, and who gives none: the statements behind heartbeats and reaping, by the server's clock alone."""

from datetime import UTC, datetime

import sqlalchemy as sa

NOTICED = "noticed_silent"
"""System attribute of a running trial: when, in the server's seconds, it was first found silent since its last beat."""

# The time in an attribute, which a worker may have written: null for what is none.
_AT = "to_timestamp(CASE WHEN {0}.value_json ~ '^[0-9]{{1,12}}([.][0-9]{{1,12}})?$' THEN {0}.value_json::float8 END)"

# A sign of life, by the server's clock; the row is Optuna's own, which has no zone and means UTC.
BEAT = sa.text(
    """
    INSERT INTO trial_heartbeats (trial_id, heartbeat)
    SELECT trial_id, clock_timestamp() AT TIME ZONE 'UTC' FROM trials WHERE trial_id = :trial_id AND state = 'RUNNING'
    ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat
    """
)

# Who runs without a heartbeat (another program's trial, say) gets one now: its silence counts from here. Who has been
# silent for half the grace is noticed: a server that was paused finds everyone silent, and must listen once more.
NOTICE = sa.text(
    f"""
    WITH unheard AS (
        INSERT INTO trial_heartbeats (trial_id, heartbeat)
        SELECT trial_id, now() AT TIME ZONE 'UTC' FROM trials t WHERE study_id = :study_id AND state = 'RUNNING'
          AND NOT EXISTS (SELECT 1 FROM trial_heartbeats h WHERE h.trial_id = t.trial_id)
        ON CONFLICT (trial_id) DO NOTHING
    )
    INSERT INTO trial_system_attributes AS noticed (trial_id, key, value_json)
    SELECT t.trial_id, '{NOTICED}', extract(epoch FROM now())::text
    FROM trials t JOIN trial_heartbeats h USING (trial_id)
    WHERE t.study_id = :study_id AND t.state = 'RUNNING'
      AND h.heartbeat < now() AT TIME ZONE 'UTC' - make_interval(secs => :grace_seconds / 2)
    ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json
    WHERE (SELECT {_AT.format("noticed")} AT TIME ZONE 'UTC' BETWEEN heartbeat AND now() AT TIME ZONE 'UTC'
           FROM trial_heartbeats h WHERE h.trial_id = noticed.trial_id) IS NOT TRUE
    """
)

# Running trials silent for longer than the grace, and for half of it since that was noticed; none while the server
# itself is younger, since nobody could beat.
STALE = sa.text(
    f"""
    SELECT t.trial_id FROM trials t JOIN trial_heartbeats h USING (trial_id)
    JOIN trial_system_attributes n ON n.trial_id = t.trial_id AND n.key = '{NOTICED}'
    CROSS JOIN LATERAL (SELECT {_AT.format("n")}) AS noticed (at)
    WHERE t.study_id = :study_id AND t.state = 'RUNNING'
      AND h.heartbeat < now() AT TIME ZONE 'UTC' - make_interval(secs => :grace_seconds)
      AND noticed.at AT TIME ZONE 'UTC' > h.heartbeat
      AND noticed.at <= now() - make_interval(secs => :grace_seconds / 2)
      AND pg_postmaster_start_time() < now() - make_interval(secs => :grace_seconds)
    ORDER BY t.trial_id
    """
)

LAST = sa.text(
    "SELECT trial_id, heartbeat FROM trials JOIN trial_heartbeats USING (trial_id) WHERE study_id = :study_id"
)


def last_signs(engine: sa.Engine, study_id: int) -> dict[int, datetime]:
    """Return when each trial of an Optuna study last gave a sign of life: of a finished one, about its end.

    Optuna's own time of the end has no zone: it is the clock of whatever machine ran the trial.
    """
    with engine.connect() as connection:
        rows = connection.execute(LAST, {"study_id": study_id})
        return {trial_id: heartbeat.replace(tzinfo=UTC) for trial_id, heartbeat in rows}
