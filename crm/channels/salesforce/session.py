"""The HTTP session every call to Salesforce goes through: time limits, pinned hosts, and the count of API calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from crm.channels.kinds import Permanent

CONNECT_SECONDS = 5
READ_SECONDS = 30
_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")


class PinnedSession(requests.Session):
    """Sends to the connection's own hosts alone, follows no redirect, repeats nothing, always within a time limit.

    `usage` is what the last answer said of the org's daily calls: used and allowed.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        super().__init__()
        self.hosts = frozenset(origin(url) for url in urls if url)
        self.usage: tuple[int, int] | None = None
        self.calls = 0
        self.auth = _keep_header  # else requests would put a .netrc password in the token's place
        self.mount("https://", HTTPAdapter(max_retries=0))

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        check_address(str(url), self.hosts)
        kwargs["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        kwargs["allow_redirects"] = False
        self.calls += 1
        response = super().request(method, url, *args, **kwargs)
        found = _USAGE.search(response.headers.get("Sforce-Limit-Info", ""))
        if found:
            self.usage = int(found[1]), int(found[2])
        return response


def origin(url: str) -> tuple[str, int]:
    """Return host and port of an https address; raises Permanent for anything else."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password:
        raise Permanent("not_https", "A Salesforce address starts with https:// and names a host, nothing before it.")
    return parts.hostname.lower(), parts.port or 443


def check_address(url: str, hosts: frozenset[tuple[str, int]]) -> None:
    """Refuse, as Permanent, an address that would carry our token to another host or climb out of its path."""
    if origin(url) not in hosts:
        raise Permanent("other_host", "This address is not on the connection's own hosts, so nothing was sent there.")
    path = urlsplit(url).path
    if (
        "//" in path
        or "\\" in path
        or any(step in (".", "..") for step in path.split("/"))
        or "/../" in _unquoted(path)
    ):
        raise Permanent("bad_path", "This address climbs out of its path, so nothing was sent there.")


def _unquoted(path: str) -> str:
    return path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/")


def _keep_header(request: Any) -> Any:
    return request
