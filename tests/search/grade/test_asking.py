"""Questions to a judge: each once, in a drawn order, several at a time, and what ends them."""

import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from model.errors import StoppedError
from search.common.errors import SearchError
from search.grade.asking import NONSENSE_AT_FIRST, Judged, ask_all, blind_order
from search.grade.judge import Judge, chat_address
from search.grade.spending import Prices, Spending
from search.grade.store import Store, key_of
from search.grade.writing import Completion
from tests.search.grade.server import JudgeServer, graded, in_turn, refused, serving

PROMPTS = ["Once", "The dog", "A ship"]
COMPLETIONS = [
    Completion(author, prompt, sample, f" text {author} {prompt} {sample}", True)
    for author in range(2)
    for prompt in range(3)
    for sample in range(2)
]


def ask(
    server: JudgeServer,
    folder: Path,
    *,
    spending: Spending | None = None,
    completions: list[Completion] = COMPLETIONS,
    parallel: int = 1,
    seed: int = 0,
    should_stop: Any = lambda: False,
    done: list[tuple[int, int]] | None = None,
) -> Judged:
    judge = Judge(chat_address(server.url), "m", first_pause_seconds=0.001, patience_seconds=30.0)
    record = (lambda n, total: done.append((n, total))) if done is not None else (lambda n, total: None)
    spending = spending or Spending(None)
    judged = ask_all(judge, PROMPTS, completions, seed, Store(folder), spending, parallel, should_stop, record)
    judge.close()
    return judged


def test_every_completion_is_asked_about_once_and_never_again(tmp_path: Path) -> None:
    done = list[tuple[int, int]]()
    with serving(graded()) as server:
        first = ask(server, tmp_path, done=done)
        again = ask(server, tmp_path)
        assert Counter(server.seen.completions) == Counter(c.text for c in COMPLETIONS)
        assert (done[0], done[-1]) == ((0, 12), (12, 12))
        assert (first.asked, first.kept, again.asked, again.kept) == (12, 0, 0, 12)
        assert first.answers == again.answers
        assert first.grades(3) == {"grammar": 7, "creativity": 5, "consistency": 6, "plot": 4}
        other = Judge(chat_address(server.url), "m", options={"temperature": 0})
        assert (
            ask_all(
                other,
                PROMPTS,
                COMPLETIONS[:1],
                0,
                Store(tmp_path),
                Spending(None),
                1,
                lambda: False,
                lambda n, total: None,
            ).asked
            == 1
        )  # another request is another question
        other.close()


def test_equal_completions_of_one_prompt_are_one_question(tmp_path: Path) -> None:
    same = [Completion(author, 0, sample, " it rained.", True) for author in (0, 1) for sample in (0, 1)]
    elsewhere = Completion(0, 1, 0, " it rained.", True)
    with serving(graded()) as server:
        judged = ask(server, tmp_path, completions=[*same, elsewhere])
    assert (judged.asked, len(server.seen.bodies)) == (2, 2)
    assert set(judged.answers) == set(range(5))


def test_the_judge_sees_no_model_and_an_order_drawn_by_seed(tmp_path: Path) -> None:
    orders = list[list[str]]()
    for number, seed in enumerate((0, 0, 1)):
        with serving(graded()) as server:
            ask(server, tmp_path / str(number), seed=seed)
        orders.append(server.seen.completions)
        assert len({json.dumps([b["messages"][0], sorted(b)]) for b in server.seen.bodies}) == 1
    assert orders[0] == orders[1] == [COMPLETIONS[i].text for i in blind_order(COMPLETIONS, 0)]
    assert orders[0] != orders[2]
    firsts = {COMPLETIONS[blind_order(COMPLETIONS, seed)[0]].author for seed in range(20)}
    assert firsts == {0, 1}


@pytest.mark.parametrize("seed", range(5))
def test_wherever_the_order_is_cut_models_are_judged_on_nearly_the_same(seed: int) -> None:
    order = blind_order(COMPLETIONS, seed)
    assert sorted(order) == list(range(12))
    for cut in range(13):
        asked = [{(c.prompt, c.sample) for i in order[:cut] if (c := COMPLETIONS[i]).author == a} for a in (0, 1)]
        assert len(asked[0] ^ asked[1]) <= 1


def test_several_questions_are_under_way_at_a_time(tmp_path: Path) -> None:
    """None of four is answered before all four are there."""
    together = threading.Barrier(4, timeout=60)

    def reply(handler: Any) -> None:
        together.wait()
        graded()(handler)

    with serving(reply) as server:
        assert ask(server, tmp_path, parallel=4).asked == 12


def test_a_refusal_ends_the_questions_and_the_next_run_asks_the_rest(tmp_path: Path) -> None:
    with serving(in_turn(graded(), graded(), graded(), refused(401, "no"))) as server:
        with pytest.raises(SearchError, match="HTTP 401"):
            ask(server, tmp_path)
        assert len(server.seen.bodies) == 4
        server.reply = graded()
        judged = ask(server, tmp_path)
    assert (judged.kept, judged.asked, judged.cap) == (3, 9, "")


def test_a_cap_ends_the_questions_with_what_is_answered(tmp_path: Path) -> None:
    with serving(graded()) as server:
        judged = ask(server, tmp_path, spending=Spending(None, max_requests=5), parallel=3)
        assert (judged.asked, len(judged.answers), len(server.seen.bodies)) == (5, 5, 5)
        assert judged.cap == "--max-requests 5 is reached"
        spending = Spending(Prices(1.0, 1.0), max_usd=0.0)
        assert ask(server, tmp_path, spending=spending).asked == 0
        assert len(server.seen.bodies) == 5


def test_a_stop_ends_the_questions_and_keeps_what_is_answered(tmp_path: Path) -> None:
    stopped = threading.Event()

    def reply(handler: Any) -> None:
        graded()(handler)
        if handler.number == 2:
            stopped.set()

    with serving(reply) as server:
        with pytest.raises(StoppedError):
            ask(server, tmp_path, should_stop=stopped.is_set)
        asked = len(server.seen.bodies)
        assert asked < 12
        assert ask(server, tmp_path).kept == asked


def test_nonsense_is_kept_and_counted_and_only_a_judge_without_any_grades_is_given_up(tmp_path: Path) -> None:
    def half(handler: Any) -> None:
        handler.say("What a nice story!") if handler.number % 2 else graded()(handler)

    with serving(half) as server:
        judged = ask(server, tmp_path / "half")
        assert sum(judged.grades(i) is None for i in judged.answers) == 6
        assert ask(server, tmp_path / "half").kept == 12
    with serving(lambda handler: handler.say("What a nice\nstory!")) as server:
        with pytest.raises(SearchError, match="answered 10 times without grades, such as: What a nice story!"):
            ask(server, tmp_path / "none")
        assert len(server.seen.bodies) == NONSENSE_AT_FIRST


def test_a_damaged_file_is_asked_about_again(tmp_path: Path) -> None:
    store, key = Store(tmp_path), key_of("a", 1, {"b": 2.5})
    store.put(key, {"text": "ж"})
    assert store.get(key) == {"text": "ж"}
    (file,) = tmp_path.rglob("*.json")
    for content in (b"", b"[1]", b"\xff"):
        file.write_bytes(content)
        assert store.get(key) is None
    assert store.get(key_of("a", 1, {"b": 2})) is None
