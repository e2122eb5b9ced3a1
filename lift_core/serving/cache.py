"""Local copies of adapters for the serving engine: verified, complete or not there.

A server reads a copy again whenever it had pushed the adapter out of its memory, and vLLM's engine ends
if the copy is gone. Several processes may share the folder, so each holds a shared lock (``flock``) on
every copy that its server may still read; only a copy that nobody holds is deleted. A process that died
holds nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from lift_core.errors import NotFoundError, RefusedFilesError
from lift_core.records import AdapterRecord
from lift_core.serving.verification import AlteredFilesError, check_names, is_adapter_name

GRACE_SECONDS = 120.0
"""How long a copy stays after the server stopped listing it: requests that it took before may be waiting."""
_ABANDONED_SECONDS = 3600
"""A working folder that nothing was added to for so long belonged to a process that was killed."""
Verify = Callable[[Path, AdapterRecord], None]
_Stamp = tuple[tuple[str, int, int, int], ...]


class FileStore(Protocol):
    """The one call of an object store that the cache needs."""

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Download an object."""


@dataclass(frozen=True)
class CachedAdapter:
    """A copy on disk: its bytes, and when it was last fetched or found."""

    name: str
    bytes: int
    used_at: datetime


class AdapterCache:
    """A folder with one folder an adapter, together at most ``max_bytes`` beside those in use.

    ``hits`` counts the copies that were there, ``downloads`` those that were not. Threads may share it.
    """

    def __init__(
        self, folder: Path, bucket: str, max_bytes: int, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.max_bytes = max_bytes
        self.hits = 0
        self.downloads = 0
        self._folder = folder
        self._grace_seconds = grace_seconds
        self._bucket = bucket
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}
        """Descriptors of the copies that this process holds; closing one lets it go."""
        self._left: dict[str, float] = {}
        """Since when a copy that is held is not in use any more, on the monotonic clock."""
        self._verified: dict[str, _Stamp] = {}

    def fetch(self, adapter: AdapterRecord, store: FileStore, verify: Verify) -> Path:
        """The adapter's local folder, verified, and held until ``evict`` hears that it is not in use.

        ``verify`` sees a folder before it becomes visible under the adapter's name, and a copy that was
        there when this process meets it for the first time; from then on a copy counts as the same while
        its files keep their sizes and times.

        Raises:
            RefusedFilesError: a name is not one that LIFT writes, a file is missing in the store, or
                ``verify`` refuses.
            ServiceUnavailableError: the store is away.
        """
        check_names(adapter)
        downloaded = False
        while True:
            damaged = False
            try:
                place = self._copy(adapter, verify)
            except AlteredFilesError as error:
                log = structlog.get_logger("lift")
                log.warning("a local copy is damaged", adapter=adapter.name, why=str(error))
                place, damaged = None, True
            if place is not None:
                with self._lock:
                    self.downloads += downloaded
                    self.hits += not downloaded
                return place
            # Another process may be quicker, or take ours away: then this is done once more.
            self._download(adapter, store, verify, replace=damaged)
            downloaded = True

    def evict(self, listed: Callable[[], Collection[str]]) -> list[str]:
        """Delete the least recently used copies until the rest is within ``max_bytes``; returns their names.

        ``listed`` says which adapters this process's server may still read, those that are just being
        fetched among them. It is asked late, so that none can have been added since. They and what other
        processes hold always stay, and what is not in use any more stays for the grace period.
        """
        if not self._folder.is_dir():
            return []
        with self._lock:
            keep = set(listed())
            for name in filter(is_adapter_name, keep):
                self._hold(name)
            self._let_go(keep)
            copies = self.entries()
            excess = sum(copy.bytes for copy in copies) - self.max_bytes
            gone: dict[str, Path] = {}
            for copy in sorted(copies, key=lambda copy: copy.used_at):
                if excess <= 0:
                    break
                if copy.name not in keep and (taken := self._take_unheld(copy.name)):
                    gone[copy.name] = taken
                    self._verified.pop(copy.name, None)
                    excess -= copy.bytes
        for path in [*gone.values(), *self._abandoned()]:
            shutil.rmtree(path)
        return list(gone)

    def entries(self) -> list[CachedAdapter]:
        """The copies on disk, by name."""
        if not self._folder.is_dir():
            return []
        found = []
        for name in sorted(path.name for path in self._folder.iterdir() if is_adapter_name(path.name)):
            # One that another process deletes meanwhile is not there.
            with suppress(FileNotFoundError):
                place = self._folder / name
                used_at = datetime.fromtimestamp(place.stat().st_mtime, UTC)
                found.append(CachedAdapter(name, sum(file[2] for file in _stamp(place)), used_at))
        return found

    # --- copies -----------------------------------------------------------------------------

    def _copy(self, adapter: AdapterRecord, verify: Verify) -> Path | None:
        """The adapter's copy, held and verified; None where there is none, AlteredFilesError if damaged."""
        place = self._folder / adapter.name
        with self._lock:
            if not self._hold(adapter.name):
                return None
        stamp = _stamp(place)
        if self._verified.get(adapter.name) != stamp:
            verify(place, adapter)
            self._verified[adapter.name] = stamp
        os.utime(place)
        return place

    def _download(self, adapter: AdapterRecord, store: FileStore, verify: Verify, *, replace: bool) -> None:
        """Put a verified copy where there is none; with ``replace`` instead of the one that is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / adapter.name
        fresh = Path(tempfile.mkdtemp(prefix=f".{adapter.name}-", dir=self._folder))
        try:
            for name in adapter.files:
                key = f"{adapter.prefix}{name}"
                try:
                    store.get_file(self._bucket, key, fresh / name)
                except NotFoundError as error:
                    raise RefusedFilesError(
                        f"adapter {adapter.name} lacks its file {name}: there is no s3://{self._bucket}/{key}"
                    ) from error
            verify(fresh, adapter)
            fresh.chmod(0o755)
            stamp = _stamp(fresh)
            # At the last moment, because another server may be about to read it.
            old = self._take(place) if replace else None
            try:
                fresh.rename(place)
            except OSError:
                # Another process was quicker; its copy is verified like any that was there before.
                if not place.is_dir():
                    raise
            else:
                self._verified[adapter.name] = stamp
            if old is not None:
                shutil.rmtree(old)
        finally:
            if fresh.is_dir():
                shutil.rmtree(fresh)

    # --- who holds what ---------------------------------------------------------------------

    def _hold(self, name: str) -> bool:
        """Keep every process from deleting a copy; whether there is one."""
        place = self._folder / name
        self._left.pop(name, None)
        held = self._held.get(name)
        if held is not None:
            if _is_same(held, place):
                return True
            os.close(self._held.pop(name))
        try:
            opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        fcntl.flock(opened, fcntl.LOCK_SH)
        # Whoever had the lock may have been taking the copy away.
        if not _is_same(opened, place):
            os.close(opened)
            return False
        self._held[name] = opened
        return True

    def _let_go(self, keep: Collection[str]) -> None:
        """Hold no longer what has not been in use for the grace period."""
        now = time.monotonic()
        for name in [*self._held]:
            if name not in keep and now - self._left.setdefault(name, now) >= self._grace_seconds:
                del self._left[name]
                os.close(self._held.pop(name))

    def _take_unheld(self, name: str) -> Path | None:
        """Move a copy out of sight, unless a process holds it."""
        place = self._folder / name
        try:
            opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self._take(place)
        except BlockingIOError:
            return None
        finally:
            os.close(opened)

    def _take(self, place: Path) -> Path | None:
        """Move a folder to where nobody looks; None if another process did so first."""
        taken = Path(tempfile.mkdtemp(prefix=".gone-", dir=self._folder))
        try:
            place.rename(taken / place.name.lstrip("."))
        except FileNotFoundError:
            taken.rmdir()
            return None
        return taken

    def _abandoned(self) -> list[Path]:
        """Working folders of processes that were killed, moved to where only this process looks."""
        before = time.time() - _ABANDONED_SECONDS
        found = []
        for path in self._folder.glob(".*"):
            with suppress(FileNotFoundError):
                if path.is_dir() and path.stat().st_mtime < before and (taken := self._take(path)):
                    found.append(taken)
        return found


def _stamp(folder: Path) -> _Stamp:
    """What changes when a file is written anew: names, numbers, sizes in bytes and times in nanoseconds."""
    found = []
    for path in sorted(folder.iterdir()):
        status = path.stat()
        found.append((path.name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _is_same(descriptor: int, place: Path) -> bool:
    """Whether a path still leads to an open folder."""
    try:
        return os.path.samestat(os.fstat(descriptor), place.stat())
    except FileNotFoundError:
        return False
