"""The study files that come with the package. Imports no other module of ours, so that listing them is fast."""

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable


def shipped() -> dict[str, Traversable]:
    """Return the study files that come with the package, by name."""
    by_name = {f.name.removesuffix(".toml"): f for f in files("studies").iterdir() if f.name.endswith(".toml")}
    return dict(sorted(by_name.items()))


def descriptions() -> dict[str, str]:
    """Return the description of each shipped study file, by name."""
    return {name: tomllib.loads(f.read_text(encoding="utf-8"))["description"] for name, f in shipped().items()}
