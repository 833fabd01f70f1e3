"""Registration of a worker with its study: its machine, its device and its price."""

import contextlib
import os
from collections.abc import Iterator, Mapping

import torch

from search.common.errors import SearchError
from search.machine.hardware import device_name
from search.study.cost import registry_of, stored_cap
from search.study.plan import Plan
from search.study.study import LinkedStudy
from storage.registry.workers import WorkerHeartbeat

PRICE = "LILM_SEARCH_USD_PER_HOUR"
"""Environment variable with the dollars that an hour of a worker costs."""
LAUNCH = "LILM_SEARCH_LAUNCH"
"""Environment variable with the name of the rented machine."""


@contextlib.contextmanager
def registered(
    study: LinkedStudy, name: str, device: torch.device, environ: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Register a worker while the block runs, and record its end.

    Raises `SearchError` if its price isn't a number, or is 0 under a cost cap, which would never be reached.
    """
    price = usd_per_hour_here(study.plan, environ)
    if not price and stored_cap(study):
        raise SearchError(
            f"the study's max_usd is {stored_cap(study):g}, but an hour of this worker costs 0 dollars, so that it "
            f"would never count; set {PRICE} to the price"
        )
    registry = registry_of(study)
    study.database.retrying(
        lambda: registry.register(
            name,
            machine=os.uname().nodename,
            launch=environ.get(LAUNCH, ""),
            device=device_name(device),
            usd_per_hour=price,
        )
    )
    with WorkerHeartbeat(registry, name):
        yield


def usd_per_hour_here(plan: Plan, environ: Mapping[str, str]) -> float:
    """Return the dollars that an hour of a worker here costs: by `PRICE`, else by the study file.

    Raises `SearchError` if `PRICE` isn't a number of dollars.
    """
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
