"""Local copies of adapters for the serving engine: verified, complete or not there."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from lift_core.errors import LiftError, TransientError
from lift_core.records import AdapterRecord

_NAME = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*-v[0-9]+$")
_FILE = re.compile(r"^[A-Za-z0-9_]+\.(safetensors|json)$")


class FileStore(Protocol):
    """The one call of an object store that the cache needs."""

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Download an object."""


class AdapterCache:
    """A folder with one folder an adapter."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self._folder = folder
        self._bucket = bucket

    def fetch(self, adapter: AdapterRecord, store: FileStore) -> Path:
        """The adapter's local folder; downloaded and verified first if it is not there.

        Raises:
            LiftError: the adapter's name or one of its files' is not one that LIFT writes.
            TransientError: a file is not the one that was registered.
        """
        if not _NAME.match(adapter.name):
            raise LiftError(f"'{adapter.name}' is no adapter's name")
        bad = [name for name in adapter.files if not _FILE.match(name)]
        if bad:
            raise LiftError(f"adapter {adapter.name} holds files that are not served: {', '.join(bad)}")
        place = self._folder / adapter.name
        if place.is_dir():
            return place
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{adapter.name}-", dir=self._folder))
        try:
            for name, sha256 in adapter.files.items():
                store.get_file(self._bucket, f"{adapter.prefix}{name}", fresh / name)
                with (fresh / name).open("rb") as handle:
                    found = hashlib.file_digest(handle, "sha256").hexdigest()
                if found != sha256:
                    raise TransientError(
                        f"{name} of adapter {adapter.name} is not the file that was registered: "
                        f"sha256 {found[:12]}…, expected {sha256[:12]}…"
                    )
            fresh.chmod(0o755)
            try:
                fresh.rename(place)
            except OSError:
                # Another process was quicker; what it put there is verified too.
                if not place.is_dir():
                    raise
        finally:
            if fresh.is_dir():
                shutil.rmtree(fresh)
        return place
