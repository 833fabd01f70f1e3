"""The beginnings of texts that models are to go on with, from a file."""

from model.data.text_files import expanded, json_object, lines, text_at
from model.errors import DataError

KEY = "prompt"
KINDS = f".txt (a prompt on each line) or .jsonl (an object with `{KEY}` on each line)"


def read_prompts(source: str) -> list[str]:
    """Return the prompts of a .txt or .jsonl file in their order; raises `DataError` for any other content.

    White space at the ends of a prompt stays, since a model goes on right after it. Blank lines are left out.
    """
    file = expanded(source)
    if file.suffix not in (".txt", ".jsonl"):
        raise DataError(f"--prompts is {source}, but must be a file of prompts: {KINDS}")
    places: dict[str, str] = {}
    try:
        for place, line in lines(file):
            if line.strip():
                prompt = line if file.suffix == ".txt" else text_at(json_object(line, place), KEY, place)
                if prompt in places:
                    raise DataError(f"{place}: the prompt of {places[prompt]} again; a prompt must be there once")
                places[prompt] = place
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror or error}") from None
    if not places:
        raise DataError(f"{file}: there is no prompt in it; it must be {KINDS}")
    return list(places)
