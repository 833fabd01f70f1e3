import re
import struct
import zlib
from pathlib import Path

import pytest

from search.common.errors import SearchError
from search.show import chromium
from tests.browser import chromium as needed

PAGE = """<!doctype html><body style="margin:0"><div style="height:1500px;background:rgb(1,2,3)"></div>
<style>@media (prefers-color-scheme: dark) { div { background: rgb(4,5,6) !important } }</style>
<script>fetch("http://example.org/").catch(() => { document.title = "alone" })</script>"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    needed()
    path = tmp_path / "a page.html"
    path.write_text(PAGE, encoding="utf-8")
    return path


@pytest.mark.usefixtures("browser")
def test_a_picture_is_as_long_as_the_page(page: Path) -> None:
    content = chromium.screenshot(page, 400, 0.5, dark=True)
    assert struct.unpack(">II", content[16:24]) == (200, 750)
    data = content.index(b"IDAT")
    rows = zlib.decompressobj().decompress(content[data + 4 :], 16)
    assert tuple(rows[1:4]) == (4, 5, 6)  # the first pixel, which no filter of PNG's changes


@pytest.mark.usefixtures("browser")
def test_a_sheet_is_as_large_as_asked_for(page: Path) -> None:
    content = chromium.print_pdf(page, (400, 1500))
    assert content.startswith(b"%PDF")
    (box,) = re.findall(rb"/MediaBox \[0 0 (\S+) (\S+)\]", content)  # of its only sheet, in points
    assert [float(n) for n in box] == pytest.approx([400 * 0.75, 1500 * 0.75], abs=0.5)


@pytest.mark.usefixtures("browser")
def test_a_page_is_asked_and_reaches_no_network(page: Path) -> None:
    assert chromium.evaluate(page, "new Promise(r => setTimeout(() => r(document.title), 200))") == "alone"
    with pytest.raises(SearchError, match="the page failed: ReferenceError: nothing is not defined"):
        chromium.evaluate(page, "nothing()")


def test_a_machine_without_chromium_is_told_what_to_install(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(page.parent))
    with pytest.raises(SearchError, match="apt install chromium"):
        chromium.screenshot(page)
    broken = page.parent / "chromium"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    with pytest.raises(SearchError, match="Chromium ended at once"):
        chromium.screenshot(page)
