"""Every network that a study may draw, for the checks that all of them pass: one line for each file of ideas."""

import pytest

from tests.model.network.case import Case
from tests.model.network.ideas import (
    compressive,
    depths,
    documents,
    experts,
    interleaving,
    megalodon,
    plain,
    quantised,
    ring,
    shared_keys,
    shortcuts,
    state_space,
    tracks,
)

IDEAS: dict[str, Case] = {
    **interleaving.CASES,
    **shared_keys.CASES,
    **documents.CASES,
    **shortcuts.CASES,
    **ring.CASES,
    **quantised.CASES,
    **experts.CASES,
    **depths.CASES,
    **state_space.CASES,
    **compressive.CASES,
    **tracks.CASES,
    **megalodon.CASES,
}
MENU: dict[str, Case] = {**plain.CASES, **IDEAS}
COSTLY: dict[str, Case] = {name: MENU[name] for name in ("plain", "all at once", *IDEAS)}
"""For checks that cost a second or so each: one of the plain network, one of the options that came with it."""

every_case = pytest.mark.parametrize("case", MENU.values(), ids=MENU)
costly_cases = pytest.mark.parametrize("case", COSTLY.values(), ids=COSTLY)
