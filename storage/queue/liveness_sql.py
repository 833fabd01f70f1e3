"""SQL of heartbeats, and of finding workers that are silent; only the server's clock counts."""

from datetime import UTC, datetime

import sqlalchemy as sa

NOTICED = "noticed_silent"
"""System attribute of a running trial: server time, in seconds, of its being found silent since its last heartbeat."""

# The time in an attribute; null if it isn't one, since a worker may have written anything.
_AT = "to_timestamp(CASE WHEN {0}.value_json ~ '^[0-9]{{1,12}}([.][0-9]{{1,12}})?$' THEN {0}.value_json::float8 END)"

# A heartbeat, by the server's clock. The row is Optuna's own; its time has no zone and is UTC.
BEAT = sa.text(
    """
    INSERT INTO trial_heartbeats (trial_id, heartbeat)
    SELECT trial_id, clock_timestamp() AT TIME ZONE 'UTC' FROM trials WHERE trial_id = :trial_id AND state = 'RUNNING'
    ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat
    """
)

# A trial that runs without a heartbeat (another program's, for example) gets one now, from which its silence counts.
# A trial silent for half the grace time is noticed first: a server that was paused finds all workers silent, and must
# wait for their next heartbeat.
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

# Running trials silent for longer than the grace time, and for half of it since that was noticed; none until the
# server itself has run for the grace time, since no worker could reach it before.
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
    """Return the time of each trial's last heartbeat, by its id; a finished trial's is about its end.

    Optuna's own time of the end has no zone: it is by the clock of the machine that ran the trial.
    """
    with engine.connect() as connection:
        rows = connection.execute(LAST, {"study_id": study_id})
        return {trial_id: heartbeat.replace(tzinfo=UTC) for trial_id, heartbeat in rows}
