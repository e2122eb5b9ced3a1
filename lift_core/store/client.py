"""One object store, through the `minio` SDK: MinIO, SeaweedFS, S3 and whatever speaks it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import Tags
from minio.credentials import Credentials
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from lift_core.errors import LiftError, NotFoundError, ObjectChangedError, ServiceUnavailableError
from lift_core.records import Arrival
from lift_core.settings import Settings
from lift_core.store.notifications import CONNECT_SECONDS, follow

_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchObject", "NoSuchVersion"}
_READ_SECONDS = 60.0
_CONNECTIONS = 16
_BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout"}


class NotOfferedError(LiftError):
    """The server does not offer this call: notifications over HTTP, say, are a MinIO extension."""


class ObjectStore:
    """Puts, gets and lists objects; errors name the bucket, the key and the endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint = settings.s3_endpoint
        self._url = f"{'https' if settings.s3_secure else 'http'}://{settings.s3_endpoint}"
        self._region = settings.s3_region
        access_key = settings.s3_access_key.get_secret_value()
        secret_key = settings.s3_secret_key.get_secret_value()
        self._credentials = Credentials(access_key, secret_key) if access_key and secret_key else None
        self._http = _http_pool()
        self._client = Minio(
            settings.s3_endpoint,
            access_key=access_key or None,
            secret_key=secret_key or None,
            secure=settings.s3_secure,
            region=settings.s3_region,
            http_client=self._http,
        )
        self._buckets = (settings.documents_bucket, settings.work_bucket, settings.adapters_bucket)

    @classmethod
    def from_settings(cls, settings: Settings) -> ObjectStore:
        """The store that ``LIFT_S3_*`` names.

        Raises:
            ServiceUnavailableError: no store is named.
        """
        if not settings.s3_endpoint:
            raise ServiceUnavailableError("no object store is named: run `lift up`, or set LIFT_S3_ENDPOINT")
        return cls(settings)

    def ensure_buckets(self) -> None:
        """Create the inbox, work and adapters buckets where they are missing."""
        for bucket in self._buckets:
            with self._errors(bucket):
                if not self._client.bucket_exists(bucket):
                    self._client.make_bucket(bucket)

    def put_bytes(
        self,
        bucket: str,
        key: str,
        data: bytes,
        content_type: str = "application/octet-stream",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Put bytes; returns the ETag."""
        with self._errors(bucket, key):
            done = self._client.put_object(
                bucket, key, io.BytesIO(data), len(data), content_type=content_type, tags=_as_tags(tags)
            )
        return str(done.etag).strip('"')

    def put_file(self, bucket: str, key: str, path: Path, tags: Mapping[str, str] | None = None) -> str:
        """Put a file, in parts where it is large; returns the ETag."""
        with self._errors(bucket, key):
            done = self._client.fput_object(bucket, key, str(path), tags=_as_tags(tags))
        return str(done.etag).strip('"')

    def get_bytes(
        self, bucket: str, key: str, if_match: str | None = None, max_bytes: int | None = None
    ) -> bytes:
        """The object's bytes, at most ``max_bytes`` + 1 of them (so that a caller sees an excess).

        Raises:
            NotFoundError: it is not there.
            ObjectChangedError: its ETag is no longer ``if_match``.
        """
        headers = {"If-Match": f'"{if_match}"'} if if_match else None
        with self._errors(bucket, key):
            response = self._client.get_object(bucket, key, request_headers=headers)
            try:
                data: bytes = response.read(None if max_bytes is None else max_bytes + 1)
                return data
            finally:
                response.close()
                response.release_conn()

    def get_file(self, bucket: str, key: str, path: Path) -> None:
        """Download an object to ``path``."""
        with self._errors(bucket, key):
            self._client.fget_object(bucket, key, str(path))

    def list(self, bucket: str, prefix: str = "") -> Iterator[Arrival]:
        """Every object under a prefix."""
        with self._errors(bucket):
            for found in self._client.list_objects(bucket, prefix=prefix, recursive=True):
                if not found.is_dir:
                    yield _arrival(bucket, found)

    def stat(self, bucket: str, key: str) -> Arrival:
        """One object's ETag, size and time."""
        with self._errors(bucket, key):
            return _arrival(bucket, self._client.stat_object(bucket, key))

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        """The object's tags; empty where it has none, or where the server knows no tags."""
        try:
            with self._errors(bucket, key):
                return dict(self._client.get_object_tags(bucket, key) or {})
        except NotOfferedError:
            return {}

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object; nothing happens where it is not there."""
        with self._errors(bucket, key):
            self._client.remove_object(bucket, key)

    def listen(self, bucket: str) -> Iterator[bool]:
        """Follow a bucket's changes as the server tells of them; ends when the server ends it.

        Yields True when something may have changed: first of all as soon as it listens, for what happened
        before is not told. Yields False for a sign of life.

        Raises:
            NotOfferedError: the server does not offer it.
            ServiceUnavailableError: it is away, or has been silent for too long.
        """
        with self._errors(bucket):
            yield from follow(self._url, bucket, self._region, self._credentials, self._http)

    @contextmanager
    def _errors(self, bucket: str, key: str = "") -> Iterator[None]:
        """Turn the SDK's errors into ours."""
        where = f"s3://{bucket}/{key}" if key else f"bucket '{bucket}'"
        try:
            yield
        except S3Error as error:
            if error.code in _MISSING:
                raise NotFoundError(f"{where} does not exist") from error
            if error.code == "PreconditionFailed":
                raise ObjectChangedError(f"{where} was replaced while it was being read") from error
            if error.code == "NotImplemented":
                raise NotOfferedError(
                    f"{self._endpoint} does not offer this for {where}: {error.message}"
                ) from error
            if error.code in _BUSY:
                raise ServiceUnavailableError(
                    f"{self._endpoint} cannot serve {where} now: {error.code}"
                ) from error
            raise LiftError(f"{self._endpoint} refuses {where}: {error.code}: {error.message}") from error
        except ValueError as error:
            # The SDK's parser, at an answer that is no S3 server's; or its check of a bucket's name.
            raise LiftError(
                f"{self._endpoint} and the object store's client do not understand each other about {where} "
                f"({error}): is LIFT_S3_ENDPOINT an S3 endpoint?"
            ) from error
        except (HTTPError, ConnectionError, TimeoutError, MinioException) as error:
            raise ServiceUnavailableError(
                f"the object store at {self._endpoint} does not answer ({type(error).__name__}) for {where}: "
                "is it up? see `lift status`, or check LIFT_S3_ENDPOINT"
            ) from error


def _http_pool() -> urllib3.PoolManager:
    """Connections with an end to waiting: the SDK's own wait five minutes for each of six attempts."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=_READ_SECONDS),
        maxsize=_CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        retries=urllib3.Retry(total=3, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504]),
    )


def _arrival(bucket: str, found: Any) -> Arrival:
    return Arrival(
        bucket=bucket,
        key=found.object_name,
        etag=str(found.etag or "").strip('"'),
        size=int(found.size or 0),
        arrived_at=found.last_modified or datetime.now(UTC),
    )


def _as_tags(values: Mapping[str, str] | None) -> Tags | None:
    if not values:
        return None
    tags = Tags.new_object_tags()
    tags.update(values)
    return tags
