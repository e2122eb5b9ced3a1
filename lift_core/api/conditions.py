"""The conditions of a request: what the client has, what it read, and whose page it comes from."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header, HTTPException, Request

_ETAG = re.compile(r'(W/)?("[^"]*")')

IfMatch = Annotated[
    str | None, Header(description="The ETag of GET aliases/{alias}: only if the alias is still that")
]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only if there is no such alias yet")]


def matches(condition: str, etag: str, *, weak: bool = False) -> bool:
    """Whether a list of ETags, or ``*``, names this one; ``weak`` lets weak ones count too."""
    if condition.strip() == "*":
        return True
    return any(found[2] == etag and (weak or not found[1]) for found in _ETAG.finditer(condition))


async def remember_known_etags(
    request: Request,
    if_none_match: Annotated[
        str | None, Header(description="ETags of what the client has: 304 without a body if one still holds")
    ] = None,
) -> None:
    """Note which answers the client has already; ``answer`` spares those."""
    request.state.known_etags = if_none_match


async def refuse_cross_site(
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    x_requested_with: Annotated[
        str | None, Header(description="Needed without a bearer token; any value, `curl` for instance")
    ] = None,
) -> None:
    """Refuse a write that a page of another site could have made in the user's name.

    A browser adds the session's cookie to whatever any page sends. It lets another site's page send
    neither of these headers (nor JSON) without asking this server first, which allows no other site; a
    form cannot send them at all. Unlike other schemes, a bearer token is never added by the browser.

    Raises:
        HTTPException: 403, there is neither.
    """
    if x_requested_with is None and not (authorization or "").lower().startswith("bearer "):
        raise HTTPException(403, "a write without a bearer token needs the header X-Requested-With")
