"""The study files that come with the package. Imports nothing of ours: commands list them at once."""

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable


def shipped() -> dict[str, Traversable]:
    """Return the study files that come with the package, by name."""
    found = [f for f in files("studies").iterdir() if f.name.endswith(".toml")]
    return {f.name.removesuffix(".toml"): f for f in sorted(found, key=lambda f: f.name)}


def descriptions() -> dict[str, str]:
    """Return what each shipped study file says of itself, by name."""
    return {name: tomllib.loads(f.read_text(encoding="utf-8"))["description"] for name, f in shipped().items()}
