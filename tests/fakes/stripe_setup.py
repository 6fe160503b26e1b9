"""What the fake Stripe does with webhook endpoints: it refuses those that cannot be, and delivers signed events."""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import requests
import stripe

Object = dict[str, Any]


class Endpoints:
    """The webhook endpoints of one fake account; `clock` gives Unix seconds, by which Stripe signs."""

    clock: Callable[[], float]
    lock: threading.RLock
    livemode: bool
    _objects: dict[str, dict[str, Object]]

    def delivers(self, event: Object, *, secret: str = "", ca_file: str | None = None) -> list[int]:
        """Send an event to every endpoint that is switched on and wants it; return what each answered.

        `secret` signs with another secret than the endpoint's own, as when somebody copied the wrong one.
        """
        with self.lock:
            endpoints = [one for one in self._objects["webhook_endpoint"].values() if _wants(one, event)]
        answers = []
        for endpoint in endpoints:
            body = json.dumps({"livemode": self.livemode, "api_version": endpoint["api_version"], **event}).encode()
            at = int(self.clock())
            signed = hmac.new((secret or endpoint["secret"]).encode(), f"{at}.".encode() + body, hashlib.sha256)
            headers = {"Stripe-Signature": f"t={at},v1={signed.hexdigest()}", "Content-Type": "application/json"}
            answers.append(
                requests.post(endpoint["url"], body, headers=headers, verify=ca_file, timeout=10).status_code
            )
        return answers

    def endpoint(self) -> Object:
        """The newest endpoint, as it is kept: changing it is what somebody does in the Dashboard."""
        return list(self._objects["webhook_endpoint"].values())[-1]


def faults_of(given: Object) -> tuple[str, str] | None:
    """Name the parameter of a new or changed endpoint that Stripe would refuse, and say why."""
    kinds, versions = _known()
    for at, name in enumerate(given.get("enabled_events", ())):
        if name != "*" and name not in kinds:
            return f"enabled_events[{at}]", f"Invalid enabled_events[{at}]: must be one of *, account.updated, …"
    version = given.get("api_version")
    if version is not None and version not in versions:
        return "api_version", f"Invalid api_version: {version}"
    return None


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """The events and versions that an endpoint may have, as the official client's types list them."""
    path = Path(stripe.__file__).parent / "params" / "_webhook_endpoint_create_params.py"
    text = path.read_text()
    return frozenset(re.findall(r'"([a-z0-9_.]+\.[a-z_]+)"', text)), frozenset(re.findall(r'"(20\d\d-[^"]+)"', text))


def _wants(endpoint: Object, event: Object) -> bool:
    wanted = endpoint["enabled_events"]
    return endpoint["status"] == "enabled" and any(fnmatch.fnmatchcase(event["type"], one) for one in wanted)
