"""Tables beside Optuna's: a study's workers, its credentials and its small files.

Their rows are deleted with the study. Rights on them: `storage.access.row_rights`.
"""

import sqlalchemy as sa

_metadata = sa.MetaData()

# Optuna's own table, named here so that the others can refer to it; it is never created here.
_studies = sa.Table("studies", sa.MetaData(), sa.Column("study_id", sa.Integer, primary_key=True))


def _of_study(*, primary_key: bool) -> sa.Column[int]:
    reference = sa.ForeignKey(_studies.c.study_id, ondelete="CASCADE")
    return sa.Column("study_id", reference, index=True, primary_key=primary_key, nullable=False)


artifacts = sa.Table(
    "lilm_artifacts",
    _metadata,
    _of_study(primary_key=False),
    sa.Column("artifact_id", sa.Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
"""Files, in parts of bounded size; part 0 is the first."""

workers = sa.Table(
    "lilm_workers",
    _metadata,
    _of_study(primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("launch", sa.Text, nullable=False, server_default=""),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("reference", sa.Float),
    sa.Column("usd_per_hour", sa.Float, nullable=False),
    sa.Column("started", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("seen", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("ended", sa.DateTime(timezone=True)),
    sa.Column("role", sa.Text, nullable=False, server_default=sa.text("CURRENT_USER")),
)
"""Workers by their name: `reference` is the throughput of the reference step in tokens/s; times are the server's.

`role` is the database user, which the server itself writes: no other worker may change the row.
"""

credentials = sa.Table(
    "lilm_credentials",
    _metadata,
    _of_study(primary_key=True),
    sa.Column("role", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
)
"""Database roles with the Optuna study that each may work on, and until when; one row per credential and study."""


def create(connection: sa.Connection) -> None:
    """Create the tables that are missing; needs no rights if none is."""
    _metadata.create_all(connection)
