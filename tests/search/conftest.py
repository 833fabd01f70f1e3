"""What tests of the search share."""

from pathlib import Path

import pytest

from tests.search.tiny import PLAN


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(PLAN, encoding="utf-8")
    return path
