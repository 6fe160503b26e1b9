"""Forgets customers, as was asked: all that is kept of the person goes, and nothing that a number needs.

Who asks only writes it down (`billing.forgetting.ask`); from then on what arrives is redacted. What is kept goes here,
in a worker or in the command's own process, and may be done again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connection, transaction

from billing import forgetting as billing
from billing import mirror
from billing.forgetting import Ask
from billing.inbox import described
from billing.models import Forgetting
from config import sweeping
from crm import forgetting as crm
from crm.selectors import Elsewhere, elsewhere
from dashboard.imports import applying

log = structlog.get_logger(__name__)

AGAIN: Final = timedelta(minutes=5)
BUSY: Final = "The database file is in use, so old pages of it could not be rewritten yet."


def run_due(*, now: datetime, tell: Callable[[str], None] = lambda step: None) -> int:
    """Do what was asked and is due; returns how many. What fails is tried again five minutes later."""
    done = 0
    for row in billing.due(now=now):
        tell(f"Forgetting {row.customer_id} of {row.source.slug}")
        try:
            forget(row, now=now)
            done += 1
        except Exception as error:  # it stays due; the row says why
            log.warning("not forgotten", forgetting=row.pk, error=type(error).__name__)
            Forgetting.objects.filter(pk=row.pk).update(error=described(error), due_at=now + AGAIN)
    if done:
        keep_list(now=now)
    return done


def reapply(*, now: datetime, tell: Callable[[str], None] = lambda step: None) -> int:
    """Forget again everybody on our list and on the one beside the data, as after a restore; returns how many.

    Raises nothing for a customer that cannot be forgotten now: its row says why, and it is tried again.
    """
    billing.take_over(read_list(), now=now)
    Forgetting.objects.update(due_at=now, done_at=None)
    return run_due(now=now, tell=tell)


def forget(row: Forgetting, *, now: datetime) -> dict[str, Any]:
    """Take a customer's person out of all that is kept, and return what was done and what stands elsewhere.

    The mirror, matches, messages, logs and all other tables change in one transaction with the customer's row locked;
    then the bodies of events. Numbers, ids and hashes stay.
    """
    told = billing.told_by_events(row)
    pk = billing.customer_pk(row)
    with transaction.atomic():
        if pk is not None:
            mirror.lock_customers([pk])
            told |= billing.clear_mirror(pk, now=now)
            crm.clear(pk)
        hidden = crm.hide(told, now=now)
        applying.throw_away_all()
        swept = sweeping.sweep(told, customer_pk=pk)
    redacted = billing.redact_events(row, told, now=now)
    standing = [asdict(one) for one in elsewhere(pk)] if pk is not None else []
    standing += [
        asdict(Elsewhere("Salesforce", what, their_id)) for what, ids in hidden.items() for their_id in sorted(ids)
    ]
    known = row.result.get("elsewhere", [])
    result = {
        "events": redacted,
        "rows": dict(sorted((+swept.changed).items())),
        "left": swept.left,
        "elsewhere": known + [one for one in standing if one not in known],
    }
    if not rewrite_file():
        raise FileBusy(BUSY)
    Forgetting.objects.filter(pk=row.pk).update(done_at=now, error="", result=result)
    log.info("forgotten", forgetting=row.pk, events=redacted)
    return result


class FileBusy(Exception):
    """SQLite leaves what was deleted in its file until the file is rewritten, and somebody reads it now."""


def rewrite_file() -> bool:
    """Rewrite SQLite's file and empty its log, where old rows would still be legible; False when it is in use.

    PostgreSQL does it by itself in its own time: VACUUM makes room, and its log and its replicas follow.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        is_busy, *_ = cursor.fetchone()
    return not is_busy


# ---- the list that outlives the database: ids and reasons, no names ----


def list_path() -> Path:
    return Path(settings.DATA_DIR) / "forgotten.jsonl"


def keep_list(*, now: datetime) -> None:
    """Write whom we were asked to forget beside the data, so that a restore of an older backup knows it."""
    billing.take_over(read_list(), now=now)
    path = list_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({**asdict(one), "at": one.at.isoformat()}) for one in billing.listed()]
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    new.replace(path)


def read_list() -> list[Ask]:
    """Return the list beside the data; nothing where there is none."""
    path = list_path()
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Ask(**{**row, "at": datetime.fromisoformat(row["at"]), "names": tuple(row["names"])}) for row in rows]
