"""Databases that already hold what many tests would put in, copied by the server from the first such."""

import functools
from collections.abc import Callable

from storage.server.database import Database, connect, parse_url
from tests.conftest import created, database_with_tables

Fill = Callable[[Database], object]


def database_holding(fill: Fill, server_url: str) -> str:
    """Create a database as this function leaves an empty one, and return its URL."""
    return created(server_url, template=_filled(fill, server_url))


@functools.cache
def _filled(fill: Fill, server_url: str) -> str:
    url = database_with_tables(server_url)
    opened = connect(url)
    fill(opened)
    opened.close()
    return str(parse_url(url).database)
