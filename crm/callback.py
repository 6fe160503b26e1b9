"""The callback of a Salesforce Flow: an Account or a Contact is new or changed, so read now and not in five minutes.

Nothing of the body is believed: its ids are looked at for their shape alone, and what changed is read from Salesforce.
"""

from __future__ import annotations

import hmac
import json
import secrets
from datetime import datetime
from typing import Final

import structlog
from auditlog.models import LogEntry

from crm import accounts
from crm.ids import MalformedId, long_id
from crm.models import SalesforceOrg

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
PREFIXES: Final = ("001", "003")  # Accounts and Contacts
Answer = tuple[int, dict[str, object]]


class NoOrg(Exception):
    """No Salesforce org is connected, so there is nobody to give a secret to."""


def make_secret(*, by: str, secret: str = "") -> str:
    """Give the connection a new callback secret and return it, this once; the one before is void. Raises NoOrg.

    `secret` is one that somebody made; empty makes one.
    """
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None:
        raise NoOrg("No Salesforce org is connected. Connect one first.")
    org.callback_secret = secret or secrets.token_urlsafe(32)
    org.save(update_fields=["callback_secret"])
    LogEntry.objects.log_create(
        org,
        changes={"callback_secret": ["", "made anew"]},
        action=LogEntry.Action.UPDATE,
        object_repr=str(org),
        serialized_data=None,
        additional_data={"by": by},
    )
    return org.callback_secret


def receive(raw: bytes | None, authorization: str, *, now: datetime) -> Answer:
    """Take one callback, and return the answer: status and JSON. Two statements, however many ids it has.

    `raw` is None where the body was too large to be read.

    202 when the next turn will read; 401 without the secret; 413 over 1 MiB; 400 for a body without an id of an Account
    or a Contact.
    """
    if not _is_let_in(authorization):
        return _refused(401, "unauthorized", "The callback secret is missing or wrong.")
    if raw is None or len(raw) > MAX_BODY_BYTES:
        return _refused(413, "too_large", "The body is over 1 MiB.")
    ids = _ids(raw)
    if ids is None:
        return _refused(400, "bad_json", 'The body is not {"ids": ["001…", "003…"]}.')
    known = sum(_is_of_ours(one) for one in ids)
    if not known:
        return _refused(400, "no_ids", "None of the ids is one of an Account or a Contact.")
    accounts.hasten(now=now)
    log.info("salesforce callback", ids=known, ignored=len(ids) - known)
    return 202, {"accepted": known, "ignored": len(ids) - known}


def _is_let_in(authorization: str) -> bool:
    """Compare in constant time; where no secret is set nobody is let in."""
    scheme, _, given = authorization.partition(" ")
    org = SalesforceOrg.objects.order_by("pk").only("callback_secret").first()
    secret = org.callback_secret if org is not None else ""
    is_same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), secret.encode())
    return bool(secret) and is_same and scheme.lower() == "bearer"


def _ids(raw: bytes) -> list[object] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    ids = body.get("ids") if isinstance(body, dict) else None
    return ids if isinstance(ids, list) else None


def _is_of_ours(one: object) -> bool:
    try:
        return isinstance(one, str) and long_id(one)[:3] in PREFIXES
    except MalformedId:
        return False


def _refused(status: int, code: str, message: str) -> Answer:
    return status, {"error": {"code": code, "message": message, "field": None}}
