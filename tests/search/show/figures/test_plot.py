"""The plot command, and figures as files."""

import json
import re
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from search.cli.main import main
from search.common.errors import SearchError
from search.show.figures.gallery import PICTURES, picture
from search.show.figures.output import WIDTH
from search.show.figures.plot import listing, plot
from tests.browser import chromium, open_page
from tests.search.show.figures.test_grid import SWEEPS
from tests.search.show.given import snapshot
from tests.search.show.grids import made_up, plan_of, ran, shipped

LAYERS = plan_of("n_layer = { choices = [1, 2] }")
FACTS = snapshot(LAYERS, [ran(LAYERS, {"n_layer": n}, 2.0 + n, tokens_per_param=5.0 * n) for n in (1, 2)])


def test_every_picture_says_what_it_shows_and_needs() -> None:
    assert set(SWEEPS) | {"sweep", "correlation"} <= set(PICTURES)
    for name, each in PICTURES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
        assert each.title
        assert each.needs


def test_an_unknown_picture_is_refused_with_the_one_most_like_it() -> None:
    with pytest.raises(SearchError, match='no picture is called "latent-swep"; did you mean `latent-sweep`'):
        picture("latent-swep")


def test_a_picture_without_anything_to_draw_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match='"made" has nothing to draw as vocabulary yet: it needs a grid over vocab'):
        plot("vocabulary", FACTS, tmp_path / "x.html")


def test_the_list_says_what_is_ready_and_what_the_others_need() -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(listing(FACTS), highlight=False)
    lines = capture.get().splitlines()
    rows = {line.split()[0]: line for line in lines if line.split() and line.split()[0] in PICTURES}
    assert set(rows) == set(PICTURES)
    assert rows["depth-sweep"].rstrip().endswith("nothing")
    assert "a grid over max_lr" in rows["schedules"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("ending", "message"), [(".gif", "must end in one of .html"), ("/no/x.json", "no does not exist")]
)
def test_a_file_that_cant_be_is_refused(ending: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=message):
        plot("sweep", FACTS, Path(f"{tmp_path}/x{ending}"))


def test_json_is_plotlys(tmp_path: Path) -> None:
    plot("sweep", FACTS, tmp_path / "x.json")
    read = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert (read["data"][0]["x"], read["data"][0]["y"]) == ([1, 2], [3, 4])


@pytest.mark.usefixtures("browser")
def test_pictures_of_every_kind(tmp_path: Path) -> None:
    chromium()
    for ending in ("png", "svg", "pdf"):
        plot("depth-sweep", FACTS, tmp_path / f"x.{ending}")
    assert struct.unpack(">I", (tmp_path / "x.png").read_bytes()[16:20]) == (2 * WIDTH,)
    svg = ET.fromstring((tmp_path / "x.svg").read_text(encoding="utf-8"))
    assert svg.attrib["width"] == str(WIDTH)
    words = " ".join("".join(svg.itertext()).split())
    assert all(w in words for w in ("Depth: tokens per parameter and BPB", "tokens per parameter", "validation BPB"))
    pdf = (tmp_path / "x.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 1


@pytest.mark.usefixtures("browser")
def test_every_sweep_is_drawn_in_a_browser_without_an_error_or_a_call_elsewhere(tmp_path: Path) -> None:
    for name, study in SWEEPS.items():
        plan = shipped(study)
        plot(name, snapshot(plan, made_up(plan)), tmp_path / f"{name}.html")
    with open_page(360) as watched:
        for width, dark, names in ((360, True, SWEEPS), (1440, False, ["latent-sweep"])):
            watched.page.set_viewport_size({"width": width, "height": 900})
            watched.page.emulate_media(color_scheme="dark" if dark else "light")
            for name in names:
                watched.page.goto((tmp_path / f"{name}.html").as_uri())
                assert watched.page.locator(".scatterlayer .trace .lines path.js-line").count() > 0
                assert watched.page.locator(".scatterlayer .trace .points path").count() > 5
                wide = watched.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, name
                ink = watched.page.locator(".ytick text").first.evaluate("e => getComputedStyle(e).fill")
                assert ink == ("rgb(230, 237, 243)" if dark else "rgb(31, 35, 40)")
        watched.assert_quiet()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("correlations", "--study", "x"), 'no picture is called "correlations"; did you mean `correlation`?'),
        (("correlation",), "lilm-search plot correlation --study NAME"),
        (("correlation", "--study", "x", "--out", "x.jpg"), "must end in one of .html, .json, .png, .svg, .pdf"),
    ],
)
def test_a_mistake_is_refused_before_a_database_is_opened(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lilm-search", "plot", *arguments])
    with pytest.raises(SystemExit, match="1"):
        main()
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_list_needs_no_study(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lilm-search", "plot", "--list"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "latent-sweep" in capsys.readouterr().out
