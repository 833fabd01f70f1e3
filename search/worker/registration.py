"""A worker's entry in the registry of its study: where it runs, on what, and at what price."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import torch

from search.common.errors import SearchError
from search.machine.hardware import device_name
from search.study.cost import registry_of, stored_cap
from search.study.plan import Plan
from search.study.study import LinkedStudy
from storage.registry.workers import Presence

PRICE = "LILM_SEARCH_USD_PER_HOUR"
LAUNCH = "LILM_SEARCH_LAUNCH"


@contextlib.contextmanager
def present(
    study: LinkedStudy, name: str, device: torch.device, environ: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Enter a worker in the registry, and record its end.

    Raises `SearchError` where its price isn't a number, or 0 under a cost cap, which it would never reach.
    """
    price = price_here(study.plan, environ)
    if not price and stored_cap(study):
        raise SearchError(
            f"the study's max_usd is {stored_cap(study):g}, but an hour of this worker costs 0 dollars, so that it "
            f"would never count; set {PRICE} to the price"
        )
    registry = registry_of(study)
    study.database.retrying(
        lambda: registry.enter(
            name,
            machine=os.uname().nodename,
            launch=environ.get(LAUNCH, ""),
            device=device_name(device),
            usd_per_hour=price,
        )
    )
    with Presence(registry, name):
        yield


def price_here(plan: Plan, environ: Mapping[str, str]) -> float:
    """Return what an hour of a worker here costs: as its machine's renter says, else as the study says."""
    given = environ.get(PRICE)
    if given is None:
        return plan.cost.usd_per_gpu_hour
    try:
        price = float(given)
    except ValueError:
        price = -1.0
    if not 0 <= price < float("inf"):
        raise SearchError(f'{PRICE} is "{given}", but must be dollars an hour, such as 0.59')
    return price
