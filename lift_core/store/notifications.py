"""A bucket's notifications as MinIO sends them: an answer that never ends.

Each line of it tells of a change; between them the server sends spaces, twice a second. The SDK's own call
reads line by line, so it waits for ever when the peer is gone without a word, and it connects again without
saying so, although what happened meanwhile was never told.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

import urllib3
from minio.credentials import Credentials
from minio.error import S3Error
from minio.signer import sign_v4_s3

_EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_CONTENT_TYPE = "text/event-stream"
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 20.0
"""A server that sends not even a space for so long is gone."""


def follow(
    url: str, bucket: str, region: str, credentials: Credentials | None, pool: urllib3.PoolManager
) -> Iterator[bool]:
    """Follow the changes of a bucket of the server at ``url``; ends when the server ends the answer.

    Yields True when something may have changed (first of all when the stream is open: what happened before
    is not told), and False for a sign of life.

    Raises:
        S3Error: the server refuses; ``NotImplemented`` where it offers no notifications.
        HTTPError: urllib3's; the server does not answer, or has been silent for :data:`SILENCE_SECONDS`.
    """
    query = urlencode([("events", event) for event in _EVENTS] + [("prefix", ""), ("suffix", "")])
    address = urlsplit(f"{url}/{quote(bucket)}?{query}")
    now = datetime.now(UTC)
    headers: dict[str, str | list[str] | tuple[str]] = {
        "Host": address.netloc,
        "x-amz-content-sha256": _EMPTY_SHA256,
        "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
    }
    if credentials is not None:
        headers = sign_v4_s3(
            method="GET",
            url=address,
            region=region,
            headers=headers,
            credentials=credentials,
            content_sha256=_EMPTY_SHA256,
            date=now,
        )
    response = pool.request(
        "GET",
        address.geturl(),
        headers={name: str(value) for name, value in headers.items()},
        preload_content=False,
        retries=False,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS),
    )
    try:
        if response.status != 200:
            raise _refusal(response, bucket)
        if not response.headers.get("Content-Type", "").startswith(_CONTENT_TYPE):
            # A server that does not know the call takes it for a listing.
            raise _error(response, bucket, "NotImplemented", "the answer is no stream of notifications")
        yield True
        while chunk := response.read1(65536):
            yield bool(chunk.strip())
    finally:
        response.close()


def _refusal(response: urllib3.BaseHTTPResponse, bucket: str) -> S3Error:
    code = {501: "NotImplemented", 404: "NoSuchBucket", 403: "AccessDenied"}.get(response.status)
    return _error(response, bucket, code or "ServiceUnavailable", f"status {response.status}")


def _error(response: urllib3.BaseHTTPResponse, bucket: str, code: str, message: str) -> S3Error:
    return S3Error(
        response=response,
        code=code,
        message=message,
        resource=bucket,
        request_id=None,
        host_id=None,
        bucket_name=bucket,
    )
