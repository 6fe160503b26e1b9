"""Looks through every table for what was told of a person, so that a table nobody thought of is looked through too."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from auditlog.models import LogEntry
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast
from django_q.models import Task

from billing.encrypted import EncryptedTextField
from billing.models import Customer

GONE: Final = "[forgotten]"
AT_ONCE: Final = 20  # texts a statement: a database reads only so deep
LEFT_TOLD: Final = 50

# Looked after elsewhere; or the accounts of people who work here; or ids and amounts alone, millions of rows of them.
PASSED_OVER: Final = frozenset(
    "billing.stripeevent billing.redaction billing.forgetting billing.forgottenname "
    "auth.user account.emailaddress account.emailconfirmation mfa.authenticator usersessions.usersession "
    "sessions.session django_q.task django_q.success django_q.failure django_q.ormq "
    "mrr.ledgerentry billing.snapshot billing.completeditems".split()
)
# A database rule keeps them as they are: what is found in them is told.
UNCHANGEABLE: Final = frozenset({"mrr.bookaction", "mrr.policyversion", "mrr.seal"})


@dataclass
class Swept:
    """How many rows were changed, by table; and what was left: {table, row}, another customer's or unchangeable."""

    changed: Counter[str] = field(default_factory=Counter)
    left: list[dict[str, str]] = field(default_factory=list)


def sweep(told: Collection[str], *, customer_pk: int | None) -> Swept:
    """Put "[forgotten]" in the place of each text, in every table; runs in the caller's transaction.

    Rows of other customers are left alone: somebody else may have the same e-mail, or the same name.
    """
    done = Swept()
    texts = sorted(told, key=len, reverse=True)
    for model in _models():
        for start in range(0, len(texts), AT_ONCE):
            _sweep_model(model, texts[start : start + AT_ONCE], customer_pk, done)
    _drop_carriers(texts, done)
    if customer_pk is not None:
        _forget_audit_lines(customer_pk, done)
    return done


def _models() -> Iterator[type[models.Model]]:
    for model in apps.get_models(include_auto_created=True):
        if model._meta.label_lower not in PASSED_OVER and not model._meta.proxy:
            yield model


def _columns(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    """The columns that people, or another system, may have written a text into."""
    return [
        column
        for column in model._meta.concrete_fields
        if isinstance(column, models.CharField | models.TextField | models.JSONField)
        and not isinstance(column, EncryptedTextField)
        and not column.primary_key
        and not column.choices
    ]


def _sweep_model(model: type[models.Model], texts: Sequence[str], customer_pk: int | None, done: Swept) -> None:
    columns = _columns(model)
    if not columns or not texts:
        return
    rows: Any = model._default_manager.all()
    wanted = Q(pk__in=[])
    for column in columns:
        rows = rows.alias(**{f"text_{column.name}": Cast(column.name, models.TextField())})
        for text in texts:
            for written in {text, json.dumps(text)[1:-1]}:  # SQLite keeps JSON as ASCII
                wanted |= Q(**{f"text_{column.name}__icontains": written})
    owners = _owners(model)
    pattern = re.compile("|".join(re.escape(text) for text in texts), re.IGNORECASE)
    names = [column.name for column in columns]
    for row in list(rows.filter(wanted).values("pk", *names, *owners)):
        others = {row[name] for name in owners} - {None, customer_pk}
        changed = {name: _replaced(row[name], pattern) for name in names}
        changed = {name: value for name, value in changed.items() if value != row[name]}
        if not changed:
            continue
        if others or model._meta.label_lower in UNCHANGEABLE:
            if len(done.left) < LEFT_TOLD:
                done.left.append({"table": model._meta.db_table, "row": str(row["pk"])})
            continue
        for column in columns:
            if isinstance(column, models.CharField) and column.name in changed:
                changed[column.name] = changed[column.name][: column.max_length]
        model._default_manager.filter(pk=row["pk"]).update(**changed)
        done.changed[model._meta.db_table] += 1


def _owners(model: type[models.Model]) -> list[str]:
    """Return the ways from a row to the customers it belongs to: itself, its own, or those of what it points at."""
    if model is Customer:
        return ["pk"]
    found = []
    for column in model._meta.concrete_fields:
        target = column.related_model
        if target is Customer:
            found.append(column.attname)
        elif isinstance(target, type):
            found += [
                f"{column.name}__{inner.attname}"
                for inner in target._meta.concrete_fields
                if inner.related_model is Customer
            ]
    return found


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(GONE, value)
    if isinstance(value, dict):
        return {_replaced(key, pattern): _replaced(part, pattern) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, pattern) for part in value]
    return value


def _drop_carriers(texts: Sequence[str], done: Swept) -> None:
    """Delete sessions and kept tasks that carry a text: they are packed, so each is opened."""
    lowered = [text.lower() for text in texts]

    def carries(opened: object) -> bool:
        found = str(opened).lower()
        return any(text in found for text in lowered)

    sessions = [row.pk for row in Session.objects.iterator() if carries(row.get_decoded())]
    tasks = [row.pk for row in Task.objects.iterator() if carries((row.args, row.kwargs, row.result))]
    for rows, pks in ((Session.objects, sessions), (Task.objects, tasks)):
        if pks:
            rows.filter(pk__in=pks).delete()
            done.changed[rows.model._meta.db_table] += len(pks)


def _forget_audit_lines(customer_pk: int, done: Swept) -> None:
    """What changed on the customer's own row, who changed it stays: the line without its values."""
    of_customer = ContentType.objects.get_for_model(Customer)
    lines = LogEntry.objects.filter(content_type=of_customer, object_pk=str(customer_pk))
    done.changed[LogEntry._meta.db_table] += lines.exclude(changes=None).update(changes=None, changes_text="")
