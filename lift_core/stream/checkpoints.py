"""A training's newest checkpoint: object to the object store first, then its row, under the lease's token."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import structlog

from lift_core.errors import LiftError, NotFoundError
from lift_core.records import Checkpoint, Lease
from lift_core.store import layout


class CheckpointRows(Protocol):
    """What checkpoints need of the registry. A checkpoint without a row is not there."""

    def save_checkpoint(self, lease: Lease, checkpoint: Checkpoint) -> None:
        """Let this be the job's checkpoint under a current token; FencedError under an old one."""

    def checkpoint(self, job_id: int) -> Checkpoint | None:
        """The job's checkpoint, or None."""

    def clear_checkpoint(self, job_id: int) -> str | None:
        """Drop the checkpoint of a job that has its adapter; the key of its object, or None."""


class CheckpointObjects(Protocol):
    """The calls of an object store that checkpoints need."""

    def put_file(self, bucket: str, key: str, path: Path) -> str:
        """Put a file."""

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Download an object to a file."""

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object; nothing happens where it is not there."""


class StoredCheckpoints:
    """The checkpoints of one job's training under one lease. Killed at any moment, the next attempt
    finds the newest one that was committed: an object without a row is no checkpoint.
    """

    def __init__(
        self, registry: CheckpointRows, store: CheckpointObjects, lease: Lease, bucket: str, scratch: Path
    ) -> None:
        self._registry = registry
        self._store = store
        self._lease = lease
        self._bucket = bucket
        self._scratch = scratch
        self._log = structlog.get_logger("lift").bind(job=lease.job_id, attempt=lease.token)

    def newest(self) -> Path | None:
        """A local copy of the job's checkpoint, whichever attempt saved it; None where there is none.

        One whose object is missing or damaged is none, with a warning: the training then begins anew,
        which takes longer and gives the same adapter.

        Raises:
            ServiceUnavailableError: the registry or the store is away.
        """
        checkpoint = self._registry.checkpoint(self._lease.job_id)
        if checkpoint is None:
            return None
        self._scratch.mkdir(parents=True, exist_ok=True)
        copy = self._scratch / f"newest-{checkpoint.token}-{checkpoint.step}.safetensors"
        try:
            self._store.get_file(self._bucket, checkpoint.key, copy)
        except NotFoundError as error:
            self._warn_of(checkpoint, str(error))
            return None
        with copy.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != checkpoint.sha256:
            copy.unlink()
            self._warn_of(
                checkpoint,
                f"s3://{self._bucket}/{checkpoint.key} has sha256 {found[:12]}…, "
                f"committed was {checkpoint.sha256[:12]}…",
            )
            return None
        self._log.info("checkpoint found", step=checkpoint.step, of_attempt=checkpoint.token)
        return copy

    def save(self, file: Path, step: int) -> None:
        """Commit a checkpoint that was taken after ``step`` steps; the one before goes.

        A step that this attempt has committed already is not written again: it names the same state.

        Raises:
            FencedError: a newer attempt trains this job; its checkpoint stays as it is.
            ValueError: this attempt has committed a later step.
            ServiceUnavailableError: the registry or the store is away; the one before stays valid.
        """
        before = self._registry.checkpoint(self._lease.job_id)
        if before is not None and (before.token, before.step) == (self._lease.token, step):
            return
        with file.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        checkpoint = Checkpoint(
            token=self._lease.token,
            step=step,
            key=layout.checkpoint_key(self._lease.job_id, self._lease.token, step),
            sha256=sha256,
            size=file.stat().st_size,
        )
        self._store.put_file(self._bucket, checkpoint.key, file)
        self._registry.save_checkpoint(self._lease, checkpoint)
        if before is not None:
            self._remove(before.key)

    def clear(self) -> None:
        """Drop the checkpoint of a job whose adapter is registered; nothing happens where there is none.

        Raises:
            StateError: the job has no adapter yet.
        """
        key = self._registry.clear_checkpoint(self._lease.job_id)
        if key is not None:
            self._remove(key)

    def _remove(self, key: str) -> None:
        """Delete an object that no row names any more. Where that fails, housekeeping does it later."""
        try:
            self._store.remove(self._bucket, key)
        except LiftError as error:
            self._log.warning("an old checkpoint was not deleted", key=key, why=str(error))

    def _warn_of(self, checkpoint: Checkpoint, why: str) -> None:
        self._log.warning(
            "the checkpoint cannot be used: the training begins anew", step=checkpoint.step, why=why
        )
