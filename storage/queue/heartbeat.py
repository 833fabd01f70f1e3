"""Threads of a worker: one writes heartbeats of its trial, one takes trials from workers that are silent."""

from collections.abc import Callable, Sequence

from storage.queue.trial_queue import TrialQueue
from storage.server.periodic import PeriodicThread


class Heartbeat(PeriodicThread):
    """Writes heartbeats of a trial while the block runs; `lost` is whether the trial was taken away."""

    def __init__(self, queue: TrialQueue, trial_id: int, *, interval_seconds: float) -> None:
        super().__init__(f"heartbeat of trial {trial_id}", interval_seconds)
        self.lost = False
        self._queue, self._trial_id = queue, trial_id

    def _call(self) -> bool:
        self.lost = not self._queue.beat(self._trial_id)
        return not self.lost


class Reaper(PeriodicThread):
    """Takes trials from silent workers while the block runs, also when this worker claims none for a long time."""

    def __init__(self, queues: Sequence[TrialQueue], forget: Callable[[], None], *, interval_seconds: float) -> None:
        super().__init__("reaper", interval_seconds, after_error=forget)
        self._queues = queues

    def _call(self) -> bool:
        for queue in self._queues:
            queue.reap()
        return True
