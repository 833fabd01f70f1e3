"""The leaderboard as text: read back by other programs, with names and texts that wish to do harm."""

import csv
import io
import itertools
import json
import re

import pytest
import yaml
from markdown_it import MarkdownIt
from rich.console import Console

from search.common.errors import SearchError
from search.common.safe_text import plain_line, plain_text
from search.show.leaderboard.boards import Board, boards
from search.show.leaderboard.links import LinkTemplate
from search.show.leaderboard.output import choose_format
from search.show.leaderboard.rows import as_csv, as_json, as_markdown, as_yaml, rows
from search.show.leaderboard.view import page, tables
from search.study.scores import PairScores
from tests.browser import WIDTHS, open_page
from tests.search.show.leaderboard.test_boards import entrant

HOSTILE = "<script>alert(1)</script> | `x` **b** [l](javascript:x) {{ x }} {% raw %} &amp; http://x.test www.y.z"
WRITTEN = "</details>\n```\n<img src=//evil.test/x onerror=alert(1)> | {{ x }}\n- : # 'y' \u2028 ````"
GENERATIONS = {"caitlin stood on the": plain_text(WRITTEN), "women are often": " tired.\n\n> no prompt"}
LINK = LinkTemplate("https://example.test/{study}").fill({"study": HOSTILE})


@pytest.fixture(scope="module")
def boards_made() -> list[Board]:
    hostile = entrant("trial 1", 1.3, study=HOSTILE, generations=GENERATIONS, link=LINK, baseline=True)
    return boards([hostile, entrant("trial 2", 1.4, confirmed_on=None), entrant("=1+1", 1.5, study="=cmd", seeds=1)])


def test_yaml_rows_are_jsons(boards_made: list[Board]) -> None:
    rows_read = yaml.safe_load(as_yaml(boards_made))
    assert rows_read == json.loads(as_json(boards_made)) == rows(boards_made)
    wanted = ["rank", "model", "score", "interval", "mean", "seeds", "minimal_pairs"]
    wanted += ["notes", "date", "link", "group", "generations"]
    assert [list(row) for row in rows_read] == [wanted] * 3
    assert rows_read[0]["date"] == "2026-01-31"
    assert rows_read[0]["interval"] == pytest.approx([1.3 - 0.019632, 1.3 + 0.019632], abs=1e-6)
    assert {g["prompt"]: g["text"] for g in rows_read[0]["generations"]} == GENERATIONS
    assert rows_read[0]["notes"].startswith("30 min on 4090; lossless; 2L d128; hand-made")


def test_minimal_pairs_stand_beside_the_bpb_where_a_run_was_scored(boards_made: list[Board]) -> None:
    """60 of 100 right; Wilson's interval by scipy. Ranks stay as they are, and a board without scores has no column."""
    scored = boards([entrant("a", 1.3), entrant("b", 1.4, pairs=PairScores("0", {"x": (60, 100)}, 0.6))])
    assert [row["minimal_pairs"] for row in rows(scored)] == [None, 0.6]
    text = "60.0% (50.2% … 69.1%)"
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(tables(scored, 140))
    for written in (as_markdown(scored), page(scored), console.export_text()):
        assert "minimal pairs" in written
        assert text in written
        assert written.index("1.3000") < written.index("1.4000")
    assert "minimal pairs<" not in page(boards_made)
    assert "minimal pairs" not in as_markdown(boards_made)


def test_csv_has_a_row_each_and_no_formulas(boards_made: list[Board]) -> None:
    rows_read = list(csv.DictReader(io.StringIO(as_csv(boards_made))))
    assert [row["score"] for row in rows_read] == ["1.3", "1.4", "1.5"]
    assert rows_read[0]["model"] == f"{HOSTILE}, trial 1"
    assert rows_read[2]["model"] == "'=cmd, =1+1"


def test_markdown_shows_hostile_texts_as_they_are(boards_made: list[Board]) -> None:
    """By another program's reading: markdown-it, with GitHub's tables."""
    text = as_markdown(boards_made)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [t for t in tokens if t.type == "inline"]
    kinds = {child.type for t in inline for child in t.children or ()} | {t.type for t in tokens}
    assert not kinds & {"html_block", "html_inline", "code_inline", "strong_open", "em_open", "image", "softbreak"}
    hrefs = [c.attrs["href"] for t in inline for c in t.children or () if c.type == "link_open"]
    assert hrefs == [LINK]
    cells = [t for before, t in itertools.pairwise(tokens) if before.type == "td_open"]
    assert len(cells) == 3 * 7
    name = "".join(c.content for c in cells[1].children or ())
    assert name == f"{HOSTILE}, trial 1"
    (fence,) = [t for t in tokens if t.type == "fence"]
    assert "<img src=//evil.test/x onerror=alert(1)>" in fence.content
    assert not re.search(r"\{\{|\{%", text)  # what Jekyll would run
    assert not re.search(r"(?<!\(<)https?://", text.replace("\\", "\0"))  # what GitHub would link


@pytest.mark.parametrize("width", [80, 160])
def test_a_terminal_gets_no_commands_and_no_longer_lines(boards_made: list[Board], width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(tables(boards_made, width, prompts=True), highlight=False)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "1.3000 ± 0.0196" in text
    assert "\x1b" not in text
    assert "women are often tired." in text


def test_plain_texts() -> None:
    assert plain_text("a\x1b[31mred\x07\r\nb\tc\u202ed\x9be\ud800") == "a[31mred\nb\tcde"
    assert plain_line(" a\nb\x1b]8;;x\x1b\\ \u2028c ") == "a b]8;;x\\ c"


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_in_a_browser(boards_made: list[Board], tmp_path_factory: pytest.TempPathFactory, dark: bool) -> None:
    path = tmp_path_factory.mktemp("page") / "leaderboard.html"
    path.write_text(page(boards_made), encoding="utf-8")
    scored = path.with_name("scored.html")
    pairs = PairScores("0", {"x": (60, 100)}, 0.6)
    scored.write_text(page(boards([entrant("a", 1.3, pairs=pairs)])), encoding="utf-8")
    with open_page(WIDTHS[0], dark=dark) as watched:
        watched.page.goto(scored.as_uri())
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[0]
        watched.page.goto(path.as_uri())
        watched.page.locator("summary").click()
        assert watched.page.locator(".name").first.inner_text() == f"{HOSTILE}, trial 1"
        assert watched.page.locator("blockquote").first.text_content() == "caitlin stood on the" + plain_text(WRITTEN)
        assert watched.page.locator("script, img, main iframe").count() == 0
        assert watched.page.locator("main a").evaluate_all("links => links.map(a => a.href)") == [LINK]
        assert watched.page.get_by_role("row").count() == 4  # cards are a table to a screen reader still
        for width in WIDTHS:
            watched.page.set_viewport_size({"width": width, "height": 900})
            assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        watched.assert_quiet()


def test_an_empty_board_says_so_everywhere() -> None:
    assert rows([]) == [] == yaml.safe_load(as_yaml([])) == json.loads(as_json([]))
    console = Console(file=io.StringIO())
    console.print(tables([], 80))
    texts = [page([]), as_markdown([]), console.file.getvalue()]  # type: ignore[attr-defined]
    assert all("Nothing is confirmed yet." in text for text in texts)


def test_formats_by_name_and_by_ending(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("out")
    assert choose_format(None, None) == choose_format(None, folder / "x.txt") == "table"
    assert choose_format(None, folder / "leaderboard.yml") == "yaml"
    assert choose_format("json", folder / "leaderboard.yml") == "json"
    with pytest.raises(SearchError, match='--format is "xml", but must be one of table, markdown, html'):
        choose_format("xml", None)


def test_links_are_filled_in_quoted_or_left_out() -> None:
    template = LinkTemplate("https://x.test/{study}?trial={trial}")
    assert template.fill({"study": 'a b"<>(/é', "trial": 3}) == "https://x.test/a%20b%22%3C%3E%28/%C3%A9?trial=3"
    assert template.fill({"study": "a"}) is None
    assert LinkTemplate("{file}").fill({"file": "javascript:alert(1)"}) == "javascript%3Aalert%281%29"
    assert LinkTemplate().fill({"study": "a"}) is None


@pytest.mark.parametrize("text", ["{}", "{0}", "{study.__class__}", "{trial!r}", "{trial:5}", "{name}", "{study"])
def test_strange_links_are_refused(text: str) -> None:
    with pytest.raises(SearchError, match="--link"):
        LinkTemplate(text)


def test_a_link_that_runs_is_refused() -> None:
    with pytest.raises(SearchError, match='begins with "javascript:"'):
        LinkTemplate("javascript:{study}")
