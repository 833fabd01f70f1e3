"""Samples as one text: what was written on from each prompt, under a line that says how; and reading it back."""

import re
from collections.abc import Mapping


def lay_out(how: str, written: Mapping[str, str]) -> str:
    """Return what was written on from each prompt, under a line that says how.

    A line of it that begins as a prompt's own does, with "> ", is marked by a backslash.
    """
    marked = {prompt: re.sub(r"\n(\\*> )", r"\n\\\1", text) for prompt, text in written.items()}
    return f"{how}\n\n" + "\n".join(f"> {prompt}\n{prompt}{text}\n" for prompt, text in marked.items())


def read_samples(laid_out: str) -> dict[str, str]:
    """Return what follows each prompt in a text of `lay_out`; nothing where it is another text."""
    heads = list(re.finditer(r"\n\n> ([^\n]+)\n\1", laid_out))
    ends = [*(head.start() for head in heads[1:]), len(laid_out.removesuffix("\n"))]
    found: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=False):
        found.setdefault(head[1], re.sub(r"\n\\(\\*> )", r"\n\1", laid_out[head.end() : end]))
    return found
