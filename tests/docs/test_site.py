"""The site: it builds without a warning, and its pages ask no other host and raise no error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import WIDTHS, open_page
from tests.docs import markdown as md


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    strict = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "--doctree-dir", str(folder / "trees"))
    built = [sys.executable, "-m", "sphinx", "--builder", "html", *strict, str(md.DOCS), str(folder / "html")]
    done = subprocess.run(built, capture_output=True, text=True, check=False, cwd=md.ROOT)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_built_and_reached_from_the_sidebar(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    for page in md.PAGES:
        name = page.relative_to(md.DOCS).with_suffix(".html").as_posix()
        assert (site / name).exists()
        assert name == "index.html" or f'<a class="reference internal" href="{name}">' in index, name


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("width", WIDTHS)
def test_a_page_works_from_the_disk_alone(site: Path, width: int) -> None:
    with open_page(width, dark=width == WIDTHS[0]) as watched:
        page = watched.page
        page.goto((site / "reference/study-file.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.goto((site / "example.html").as_uri())
        widths = page.eval_on_selector_all("article img[src$='.svg']", "all => all.map(f => f.clientWidth)")
        assert len(widths) == 3
        assert min(widths) >= 600
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.goto((site / "reference/commands.html").as_uri())
        first = page.locator("#init td:last-child").first.bounding_box()
        assert first
        assert first["x"] < width / 2 + 60
        page.goto((site / "search.html").as_uri() + "?q=tau")
        page.wait_for_selector("#search-results li a")
        watched.assert_quiet()
