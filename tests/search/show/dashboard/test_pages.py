"""The dashboard's pages in a real Chromium: notes read, figures drawn, files brought; nothing asked of other hosts."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from search.common.signals import StopRequest
from search.show.dashboard.figures import NAMES, PAPER
from search.show.dashboard.server import Address, serve
from search.show.dashboard.sync import save_figures, sync_notes
from search.show.figures.gallery import PICTURES
from search.study.artifacts import attach
from search.study.study import load_study
from storage.server.database import connect
from tests.browser import WIDTHS, open_page
from tests.conftest import CLI_SECONDS
from tests.search.copies import database_holding
from tests.search.shown import full_study

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),  # as the commands do
    pytest.mark.filterwarnings("ignore:Some regimes for parameter"),  # the dashboard asks Optuna what mattered
]
RECORD = "# confirmation 3\nä, ρ and 1.2100 BPB\n"
PATIENCE = 60_000.0
"""Milliseconds for a page, on a busy machine."""


@pytest.fixture(scope="module")
def pages(embedded_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard, on a study with everything: the URL of its studies' pages, but for their number."""
    database = connect(database_holding(full_study, embedded_url))
    study = load_study(database, "shown")
    save_figures(study, sync_notes(study))
    record = tmp_path_factory.mktemp("record") / "record-3.txt"
    record.write_text(RECORD, encoding="utf-8")
    attach(study, study.confirmations, study.confirm_trials()[3]._trial_id, record)
    stop, listening, urls = StopRequest(), threading.Event(), list[str]()

    def shown_at(url: str) -> None:
        urls.append(url)
        listening.set()

    server = threading.Thread(target=serve, args=(database, "shown", Address(), stop, lambda line: None, shown_at))
    server.start()
    assert listening.wait(CLI_SECONDS)
    assert urls[0].endswith(f"/dashboard/studies/{study.proxies._study_id}")
    yield urls[0].removesuffix(str(study.proxies._study_id))
    stop.ask()
    server.join(CLI_SECONDS)
    database.close()


def drawn(page: Page, name: str) -> None:
    """Wait for a figure of ours, and look whether something is drawn in it, on paper of its own."""
    figure = page.locator(f'[id="user-defined-plot:{name}"]')
    figure.locator("svg.main-svg").first.wait_for(timeout=PATIENCE)
    assert figure.locator(".trace").count() > 0
    title = str(figure.locator(".gtitle").first.text_content())  # of several lines, which have no blank between them
    assert title.replace(" ", "") == PICTURES[name].title.replace(" ", "")
    paper = figure.locator("svg.main-svg").first.evaluate("svg => getComputedStyle(svg).backgroundColor")
    assert paper == f"rgb({', '.join(str(int(PAPER[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("width", WIDTHS)
def test_notes_figures_and_files_are_there(pages: str, width: int, tmp_path: Path) -> None:
    with open_page(width, dark=width == max(WIDTHS)) as watched:
        page = watched.page
        page.goto(f"{pages}1")
        for name in NAMES:
            drawn(page, name)

        page.goto(f"{pages}1/note")
        page.get_by_role("heading", name="trial 2 is the best confirmed: 1.2165 ±").wait_for(timeout=PATIENCE)
        assert page.get_by_role("cell", name="trial 7", exact=True).count() == 1
        assert "<b>" in str(page.get_by_role("cell", name="baseline *bold*").text_content())
        assert page.get_by_text("keeps what is above").count() == 0  # which only editors see

        page.goto(f"{pages}1/trials?numbers=10")
        page.get_by_text("of the best runs are expected to look as bad here").wait_for(timeout=PATIENCE)
        assert page.locator("main strong").first.text_content() == "Pruned at 30%"

        page.goto(f"{pages}2/trials?numbers=3")
        page.get_by_text("record-3.txt").wait_for(timeout=PATIENCE)
        with page.expect_download(timeout=PATIENCE) as download:
            page.get_by_label("download artifact").click()
        download.value.save_as(tmp_path / "brought")
        assert (tmp_path / "brought").read_bytes() == RECORD.encode()
        assert page.locator("img").count() == 0  # that a name asked for
        watched.assert_quiet()
