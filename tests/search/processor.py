"""This machine's processor, tested and timed once for all workers that a process of the tests runs."""

import functools
from typing import Any

from model.training.self_test import self_test
from search.machine.hardware import detect_hardware

ONCE: dict[str, Any] = {
    "self_test": functools.cache(self_test),
    "detect_hardware": functools.cache(detect_hardware),
}
"""Arguments of a `Worker` for tests of something else, most of which take less time than either."""
