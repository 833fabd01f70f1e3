"""Compiled graphs that travel with a study's files, so that a shape is compiled on one machine for all of its kind.

Torch unpickles what it reads from its cache, so that whoever may write there may run code here. An archive is therefore
used only with a signature of the key that the workers share, which is checked before anything is unpacked, and which
neither the database nor the files hold. Without a key nothing is read or written.

An archive is what one worker compiled since its last one, and is written once: its name is its content's. Nothing is
replaced or merged, since torch's own files are named by their content too.
"""

import io
import queue
import time
from collections.abc import Callable
from hashlib import sha256

import torch

from model.errors import ModelError
from model.network.compiled_files import SETTLED_SECONDS, compiled_files, machine_kind, pack, unpack
from search.show.wording import counted
from search.study.artifacts import StudyStore, compiled_prefix
from storage.artifacts.signed import signed, verified
from storage.errors import first_line
from storage.server.periodic import BackgroundThread

MEGABYTE = 10**6
MOST_BYTES = 64 * MEGABYTE
"""Largest archive."""
MOST_BYTES_OF_KIND = 512 * MEGABYTE
"""Bytes of all archives for machines of one kind, above which no more are written, nor read by one worker."""
FETCH_EVERY_SECONDS = 60.0
"""Seconds between looks at what other workers compiled."""
CLOSE_SECONDS = 20.0
"""Seconds that the end of a worker waits for an archive to be stored."""
_PURPOSE = "lilm-search compiled graphs 1: "


class CompiledGraphs(BackgroundThread):
    """Fetches what other workers compiled and stores what this one compiles; nothing of it fails a trial.

    Args:
        store: the study's files.
        folder: name of the study's folders, which no other study has.
        key: the secret that the workers share.
        device: device that is compiled for; who may use an archive depends on it.
        say: prints a line for people.
        stopping: returns whether this worker is asked to stop.
        settled_seconds: seconds since its last change after which a file counts as whole.
        clock: returns seconds.

    """

    def __init__(
        self,
        store: StudyStore,
        folder: str,
        key: str,
        device: torch.device,
        say: Callable[[str], None],
        stopping: Callable[[], bool],
        *,
        settled_seconds: float = SETTLED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._key, self._device, self._say = store, key.encode(), device, say
        self._stopping, self._settled_seconds, self._clock = stopping, settled_seconds, clock
        self._kind = machine_kind(device)
        self._prefix = compiled_prefix(folder, self._kind)
        self._known_files = compiled_files(device, 0.0)
        """Files of torch's folder that were there before, came from others or are stored: not to be stored again."""
        self._seen: set[str] = set()
        """Archives that were read, or written here."""
        self._bytes_read = 0
        self._next_fetch = clock()
        self._said: set[str] = set()
        self._due: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True: store what is new; False: end."""
        super().__init__("compiled graphs")

    def fetch(self) -> None:
        """Fetch what others compiled since the last look, if that is long enough ago; never raises."""
        if self._clock() < self._next_fetch:
            return
        self._next_fetch = self._clock() + FETCH_EVERY_SECONDS
        try:
            self._fetch()
        except Exception as error:  # whatever a store raises: at worst shapes are compiled here
            self._say_once(f"note: compiled graphs can't be fetched: {first_line(error)}")

    def _fetch(self) -> None:
        new = {name: size for name, size in self._store.sizes(self._prefix).items() if name not in self._seen}
        fetched, size, refused = 0, 0, 0
        for name in sorted(new):
            if self._bytes_read + min(new[name], MOST_BYTES) > MOST_BYTES_OF_KIND:
                self._say_once(f"note: no more than {MOST_BYTES_OF_KIND // MEGABYTE} MB of compiled graphs are read")
                break
            with self._store.open_reader(name) as reader:
                file = reader.read(MOST_BYTES + 1)
            self._seen.add(name)  # read: what an outage cut off is tried again
            self._bytes_read += len(file)
            # First of all: nothing looks into bytes that no holder of the key has signed.
            archive = verified(self._key, self._label, file) if len(file) <= MOST_BYTES else None
            if archive is None:
                refused += 1
                continue
            self._known_files.update(unpack(archive))
            fetched, size = fetched + 1, size + len(file)
        if fetched:
            archives = counted(fetched, "archive")
            self._say(f"compiled graphs: {archives} of other workers ({size / MEGABYTE:.1f} MB) from the study's files")
        if refused:
            self._say(
                f"warning: {counted(refused, 'archive')} of compiled graphs in the study's files not used: not signed "
                "with this worker's key; the worker that wrote it may hold another"
            )

    @property
    def _label(self) -> str:
        return _PURPOSE + self._kind

    def share(self) -> None:
        """Have what was compiled meanwhile stored by a thread."""
        self._due.put(True)

    def pass_over(self) -> None:
        """Never store what was compiled meanwhile: a run failed, and a broken library may be the cause."""
        self._known_files |= compiled_files(self._device, 0.0)

    def close(self) -> None:
        """Wait for a while until what is to be stored is stored, unless the worker is asked to stop."""
        self._due.put(False)
        self._thread.join(0 if self._stopping() else CLOSE_SECONDS)

    def _run(self) -> None:
        while self._due.get():
            try:
                self._store_new()
            except Exception as error:  # whatever a store raises: other machines then compile by themselves
                self._say_once(f"note: compiled graphs can't be stored: {first_line(error)}")

    def _store_new(self) -> None:
        new = compiled_files(self._device, self._settled_seconds) - self._known_files
        if not new:
            return
        archive = pack(new)
        name = self._prefix + sha256(archive).hexdigest()[:32]
        file, there = signed(self._key, self._label, archive), self._store.sizes(self._prefix)
        size = len(file) / MEGABYTE
        if name in there:
            self._known_files |= new
        elif len(file) > MOST_BYTES or sum(there.values()) + len(file) > MOST_BYTES_OF_KIND:
            self._known_files |= new
            raise ModelError(
                f"{size:.1f} MB beside {sum(there.values()) / MEGABYTE:.1f} MB, but at most "
                f"{MOST_BYTES // MEGABYTE} MB at once and {MOST_BYTES_OF_KIND // MEGABYTE} MB in all are kept"
            )
        else:
            self._store.write(name, io.BytesIO(file))
            self._seen.add(name)
            self._known_files |= new  # now that they are stored: else the next run's end tries again
            self._say(f"compiled graphs: {counted(len(new), 'file')} ({size:.1f} MB) stored for other workers")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)
