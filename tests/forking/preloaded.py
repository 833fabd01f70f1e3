"""What every command and worker needs, imported once by the process that they are forked from."""

import gc

import alembic.command
import scipy.stats
import sqlalchemy.dialects.postgresql.psycopg2
import torch._dynamo  # which optimizers import
import typer.main

import search.cli.main
import search.worker.pool
import search.worker.worker
import tests.chaos.worker
from model.data.sources import builtin_prose
from search.machine.provenance import source_version
from tests.conftest import remember_commands

remember_commands()
typer.main.get_command(search.cli.main.app)
source_version()  # which asks git, and is remembered
builtin_prose()  # which parses the standard library, and is remembered
loaded = (alembic.command, scipy.stats, sqlalchemy.dialects.postgresql.psycopg2, torch._dynamo, search, tests)
gc.freeze()  # so that collections in its children leave its pages shared
gc.enable()
