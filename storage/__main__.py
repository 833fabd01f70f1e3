"""Make a study database ready: `python -m storage` creates the tables that are missing in LILM_SEARCH_STORAGE.

The server's owner does this once (docker-compose.yml), so that roles with fewer rights find their tables.
"""

import os
import sys

from storage.errors import StorageError
from storage.redaction import guard_streams, shown_address
from storage.server.address import stored_url
from storage.server.database import connect


def main() -> int:
    """Create what is missing; return the exit code."""
    guard_streams()
    if not (url := os.environ.get("LILM_SEARCH_STORAGE") or stored_url()):
        print("error: LILM_SEARCH_STORAGE is not set; it names the database: postgresql://USER@HOST/DATABASE")
        return 1
    try:
        connect(url, application_name="lilm-search tables").close()
    except StorageError as error:
        print(f"error: {error}")
        return 1
    print(f"the tables are there: {shown_address(url)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
