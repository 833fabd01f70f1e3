"""Samples as one text, under a line that says how they were drawn; and reading it back."""

import re
from collections.abc import Mapping


def format_samples(how: str, written: Mapping[str, str]) -> str:
    """Return the samples by prompt as one text, under the line `how`.

    A sample's line that begins with "> ", as a prompt's line does, gets a backslash before it.
    """
    marked = {prompt: re.sub(r"\n(\\*> )", r"\n\\\1", text) for prompt, text in written.items()}
    return f"{how}\n\n" + "\n".join(f"> {prompt}\n{prompt}{text}\n" for prompt, text in marked.items())


def read_samples(laid_out: str) -> dict[str, str]:
    """Return the samples by prompt in a text of `format_samples`; none if it is another text."""
    heads = list(re.finditer(r"\n\n> ([^\n]+)\n\1", laid_out))
    ends = [*(head.start() for head in heads[1:]), len(laid_out.removesuffix("\n"))]
    samples: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=False):
        samples.setdefault(head[1], re.sub(r"\n\\(\\*> )", r"\n\1", laid_out[head.end() : end]))
    return samples
