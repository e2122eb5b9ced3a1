"""What a webhook may be: its kinds of events, its URL, its secret; and when a failed delivery is retried."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import secrets
from collections.abc import Collection
from urllib.parse import urlsplit

from pydantic import SecretStr

from lift_core.errors import LiftError

KINDS = (
    "adapter.active",
    "adapter.archived",
    "adapter.candidate",
    "adapter.damaged",
    "adapter.judged",
    "adapter.proven",
    "adapter.quarantined",
    "adapter.refused",
    "adapter.rejected",
    "adapter.released",
    "adapter.removed",
    "adapter.scored",
    "adapter.superseded",
    "adapter.tagged",
    "adapter.unmeasured",
    "alias.moved",
    "alias.removed",
    "attempt.lost",
    "job.admitted",
    "job.cancelled",
    "job.done",
    "job.failed",
    "job.late",
    "job.queued",
    "job.rerun",
    "job.running",
    "version.arrived",
    "version.current",
    "version.removed",
)
"""All kinds of events; a test compares them with the source."""

MAX_ATTEMPTS = 80
"""At the intervals below that takes some 70 hours."""
MAX_AGE_HOURS = 72
"""An older event is not tried again after a failure, however few its attempts: the deliverer was away."""
_FIRST_SECONDS = 5.0
_LONGEST_SECONDS = 3600.0
_JITTER = 0.1

_SECRET_PREFIX = "whsec_"  # noqa: S105 - the mark that a secret begins with
_SECRET_BYTES = 32
_ALLOWED_SECRET_BYTES = range(24, 65)

_LONGEST_URL = 2000
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_METADATA = tuple(
    ipaddress.ip_network(each)
    for each in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32")
)
"""Link-local networks, and the addresses beyond them under which clouds hand out credentials."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_kinds(kinds: Collection[str]) -> tuple[str, ...]:
    """The kinds, each once and sorted; ``adapter.*`` stands for all that begin with ``adapter.``.

    Raises:
        LiftError: one is no kind of event.
    """
    known = {*KINDS, *(f"{kind.split('.')[0]}.*" for kind in KINDS)}
    for kind in kinds:
        if kind not in known:
            raise LiftError(f"'{kind}' is no kind of event; there are {', '.join(sorted(known))}")
    return tuple(sorted(set(kinds)))


def check_url(url: str, *, insecure: bool = False) -> None:
    """Refuse a URL that events must not be posted to; ``insecure`` allows plain http beyond this machine.

    Only what the URL itself says is looked at: what its host resolves to is checked at each delivery.

    Raises:
        LiftError: the URL is not allowed; the message does not repeat it, as it may hold credentials.
    """
    if len(url) > _LONGEST_URL or not re.fullmatch(r"[!-~]+", url):
        raise LiftError(
            f"a webhook's URL has at most {_LONGEST_URL} characters, all of them printable ASCII without "
            "blanks: write others percent-encoded, and a host's name as punycode"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise LiftError(f"a webhook's URL names no host and port that can be read: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise LiftError(f"a webhook's URL begins with https:// or http://, not with '{parts.scheme}:'")
    if "@" in parts.netloc:
        raise LiftError("a webhook's URL holds no user or password: the receiver knows LIFT by the signature")
    host = parts.hostname or ""
    address = _literal(host)
    if port == 0 or (address is None and not _HOST.fullmatch(host)):
        raise LiftError("a webhook's URL needs the name or the address of a host")
    if address is not None:
        check_address(host)
    here = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme == "http" and not (here or insecure):
        raise LiftError(
            f"http to {host} would send events in the clear: use https, or say --insecure if the network "
            "between is trusted"
        )


def check_address(address: str) -> None:
    """Refuse an address that events are never posted to, whoever asks for it.

    Link-local ones are where clouds hand out a machine's credentials; the others name no one receiver.

    Raises:
        LiftError: the address is such a one.
    """
    found = _plain(ipaddress.ip_address(address))
    if any(found in network for network in _METADATA if network.version == found.version):
        raise LiftError(f"the address {address} is refused: it is link-local or a cloud's metadata service")
    if found.is_unspecified or found.is_multicast:
        raise LiftError(f"the address {address} is refused: it names no single receiver")


def new_secret() -> SecretStr:
    """A random signing secret, ``whsec_`` and base64."""
    return SecretStr(_SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode())


def secret_key(secret: SecretStr) -> bytes:
    """The key that a signing secret stands for.

    Raises:
        LiftError: it is not ``whsec_`` followed by the base64 of 24 to 64 bytes.
    """
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_SECRET_PREFIX) or len(key) not in _ALLOWED_SECRET_BYTES:
        raise LiftError(
            f"a webhook's secret is '{_SECRET_PREFIX}' and the base64 of 24 to 64 random bytes; "
            "leave it out, and LIFT makes one"
        )
    return key


def retry_seconds(attempts: int, luck: float) -> float:
    """Seconds to wait after the ``attempts``-th failure: 5, doubled each time, an hour at the most.

    ``luck`` (0 to 1) moves that by up to a tenth either way, so that many do not come back at once.
    """
    # The power is bounded as well: it must not grow into a number that no float holds.
    doubled = _FIRST_SECONDS * 2.0 ** min(attempts - 1, 20)
    jitter = 1 - _JITTER + 2 * _JITTER * luck
    return min(min(doubled, _LONGEST_SECONDS) * jitter, _LONGEST_SECONDS)


def _literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 address only wraps, or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
