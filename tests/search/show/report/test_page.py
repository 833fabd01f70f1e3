"""The report in a real browser: every figure drawn, nothing asked of another host, nothing injected."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page
from typer.testing import CliRunner

from search.cli.main import app
from search.common.errors import SearchError
from search.show.figures.gallery import PICTURES
from search.show.report.page import output_path, page, write
from search.study.artifacts import attach
from search.study.results import confirmed
from search.study.study import LinkedStudy
from storage.server.database import connect
from tests.browser import Watched, open_page
from tests.conftest import database_with_tables
from tests.search.show.studied import HOSTILE, made, params, plan, searched, snapshot_of, stored

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do
VISIBLE = """div => { const svg = div.querySelector('svg.main-svg');
  const marks = div.querySelectorAll('.scatterlayer path, .barlayer path');
  return !!svg && svg.getBoundingClientRect().height > 50 && [...marks].some(m => m.getBBox().width > 0) }"""
CUT = """() => [
  ...[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).map(s => s.innerText),
  ...[...document.querySelectorAll('.plot:not([data-figure=leaderboard]) [class$=title]')].filter(t => {
    const [text, page] = [t, t.closest('.plot')].map(e => e.getBoundingClientRect());
    return text.left < page.left || text.right > page.right;
  }).map(t => t.textContent)]"""
"""Tables and axis titles that don't fit, but for the figure whose width a hostile name takes."""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def report(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a study in a database that others have named."""
    of = plan(trials=18, baseline=HOSTILE, description=f"{HOSTILE}</script><script>document.title=1</script>")
    folder, url = tmp_path_factory.mktemp("report"), database_with_tables(embedded_url)
    opened = connect(url)
    study = stored(opened, of)
    keep_samples(study, folder, f"> the\n{HOSTILE} and so on")
    opened.close()
    asked = ["report", "--study", "made", "--storage", url, "--out", str(folder / "report.html")]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.stdout.startswith(f"report: {folder / 'report.html'} (4.")
    return folder / "report.html"


def keep_samples(study: LinkedStudy, folder: Path, text: str) -> None:
    """Store what the winner's run wrote, as a worker does."""
    run = confirmed(study)[0].runs[0]
    path = folder / f"samples-{run.number}.txt"
    path.write_text(text, encoding="utf-8")
    attach(study, study.confirmations, run._trial_id, path)


def assert_drawn(watched: Watched, ink: str) -> None:
    """Every figure is there with its marks, within the page, in this colour of text."""
    figures = watched.page.query_selector_all("[data-figure]")
    assert {f.get_attribute("data-figure") for f in figures} == {n for n, p in PICTURES.items() if not p.grids}
    for figure in figures:
        assert figure.evaluate(VISIBLE), figure.get_attribute("data-figure")
        assert figure.get_attribute("aria-label")
        texts = figure.query_selector_all(".xtick text, .ytick text, .legendtext")
        assert texts[0].evaluate("t => getComputedStyle(t).fill") == ink
    assert watched.page.evaluate(OVERFLOW) == 0
    assert_named_as_they_are(watched.page)
    watched.assert_quiet()


def assert_named_as_they_are(html: Page) -> None:
    """What looks like markup in names is text, in the page and in the figures."""
    assert html.title() == "made: report"
    assert html.query_selector("img") is None
    assert f"{HOSTILE} and so on" in html.inner_text("#won pre")
    assert HOSTILE in html.inner_text("#won table")
    ticks = [t.text_content() or "" for t in html.query_selector_all("[data-figure=leaderboard] .ytick text")]
    assert f"baseline {HOSTILE}" in ticks


@pytest.mark.usefixtures("browser")
def test_every_figure_is_drawn_wide_and_narrow_light_and_dark(report: Path) -> None:
    with open_page(1440) as watched:
        watched.page.goto(report.as_uri())
        assert_drawn(watched, "rgb(31, 35, 40)")
        watched.page.emulate_media(color_scheme="dark")
        watched.page.wait_for_timeout(200)
        assert_drawn(watched, "rgb(230, 237, 243)")
        watched.page.set_viewport_size({"width": 360, "height": 800})
        watched.page.wait_for_timeout(500)
        assert_drawn(watched, "rgb(230, 237, 243)")
        assert watched.page.evaluate(CUT) == []
        watched.page.emulate_media(color_scheme="light")
        watched.page.wait_for_timeout(200)
        assert_drawn(watched, "rgb(31, 35, 40)")


def test_it_tells_no_host_and_no_folder(report: Path) -> None:
    text = re.sub(r"<script>.*?</script>", "", report.read_text(encoding="utf-8"), flags=re.S)
    assert "host-a" not in text
    assert "secret-folder" not in text
    assert "text.parquet" in text


@pytest.mark.parametrize("n", [0, 1])
def test_a_study_with_next_to_nothing_is_said_to_have_it(n: int) -> None:
    of = plan()
    html = page(snapshot_of(of, [made(of, i, 1.5, params(i)) for i in range(n)], slots=n))
    assert "This study is not finished" in html
    assert ("Nothing is confirmed yet" if n else "Nothing has trained to the end yet") in html
    assert "Figures that this study has too little for" in html


def test_the_pages_numbers_are_the_facts() -> None:
    of = plan()
    snapshot = snapshot_of(of, *searched(of, 24))
    html = page(snapshot)
    for c in snapshot.confirmed:
        assert f">{snapshot.estimates[c.key].text}</td>" in html
        assert f">{c.mean_bpb:.4f}</td>" in html
    assert f"τ = {snapshot.transfer.tau:.2f}" in html


def test_a_budget_is_spelt_as_in_the_study_file_everywhere() -> None:
    of = plan()
    html = re.sub(r"<script>.*?</script>", "", page(snapshot_of(of, *searched(of, 24))), flags=re.S)
    assert re.findall(r"(?<![.\d])(?:6 min|360 s|30 min|1800 s)\b", html) == []
    assert "BPB after 30m of training" in html
    assert "proxy trials of 6m finished" in html


@pytest.mark.usefixtures("browser")
def test_it_prints(report: Path, tmp_path: Path) -> None:
    size = write(report.read_text(encoding="utf-8"), tmp_path / "report.pdf", "pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert size == len(content) > 50_000
    assert [p.name for p in tmp_path.iterdir()] == ["report.pdf"]


def test_where_it_goes(tmp_path: Path) -> None:
    assert output_path("s", None, None) == (Path("s-report.html"), "html")
    assert output_path("s", Path("a.pdf"), None) == (Path("a.pdf"), "pdf")
    assert output_path("s", None, "png") == (Path("s-report.png"), "png")
    assert output_path("s", Path("a.PNG"), None) == (Path("a.PNG"), "png")
    for other in ("r.docx", "r"):
        with pytest.raises(SearchError, match=f"--out is {other}, but must end in one of .html, .pdf, .png"):
            output_path("s", Path(other), None)
    with pytest.raises(SearchError, match='--format is "doc", but must be one of html, pdf, png'):
        output_path("s", None, "doc")
    with pytest.raises(SearchError, match=r"that is a folder; name a file in it, such as .*s-report\.html"):
        output_path("s", tmp_path, None)
    with pytest.raises(SearchError, match="does not exist; create it first"):
        write("", tmp_path / "missing" / "report.html", "html")
