"""What a network wrote, laid out for people and read back."""

from hypothesis import given
from hypothesis import strategies as st

from model.formats.sample_text import format_samples, read_samples
from model.sample import PROMPTS

LINES = st.text(st.sampled_from("> \\\nab") | st.characters(codec="utf-8"), max_size=30)
FORGED = st.sampled_from(["", f"\n\n> {PROMPTS[1]}\n{PROMPTS[1]} forged", "\n> \\> x", "\n\\> x", "\n"])


@given(st.lists(st.tuples(LINES, FORGED, LINES).map("".join), min_size=3, max_size=3))
def test_whatever_was_written_comes_back(texts: list[str]) -> None:
    written = dict(zip(PROMPTS, texts, strict=True))
    assert read_samples(format_samples("100 tokens at most", written)) == written


def test_the_layout_of_files_that_are_stored_already() -> None:
    text = "100 tokens at most, seed 0\n\n> caitlin stood on the\ncaitlin stood on the lake.\n\nB:\tOh.\n\n"
    text += '> in japanese culture\nin japanese culture, "a"\n'
    assert read_samples(text) == {"caitlin stood on the": " lake.\n\nB:\tOh.", "in japanese culture": ', "a"'}


def test_another_text_holds_nothing() -> None:
    assert read_samples("") == {}
    assert read_samples("how\n\n> a\nbut nothing that begins with it\n") == {}
