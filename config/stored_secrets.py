"""The secrets that stand encrypted in the database: where, and which of our keys reads each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.apps import apps
from django.conf import settings
from django.db import connection, models

from billing.encrypted import EncryptedTextField


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One secret as it stands: `token` is what the database holds, never the clear text."""

    model: type[models.Model]
    column: str
    pk: Any
    token: str


def stored_secrets() -> Iterator[StoredSecret]:
    """Yield every stored secret. Reading through the models would already decrypt them."""
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedTextField):
                yield from _of(model, str(field.column))


def key_id(key: str) -> str:
    """Return the name of a field key: a short hash that says nothing of the key."""
    return hashlib.sha256(f"field key {key}".encode()).hexdigest()[:12]


def keys_in_use() -> tuple[set[str], int]:
    """Return the names of the keys that the stored secrets need, and how many secrets none of our keys reads."""
    needed: set[str] = set()
    unreadable = 0
    keys = [(key_id(key), Fernet(key)) for key in settings.FIELD_ENCRYPTION_KEYS]
    for secret in stored_secrets():
        fits = next((name for name, key in keys if _reads(key, secret.token)), None)
        if fits is None:
            unreadable += 1
        else:
            needed.add(fits)
    return needed, unreadable


def _of(model: type[models.Model], column: str) -> Iterator[StoredSecret]:
    table, key = model._meta.db_table, model._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{key}", "{column}" FROM "{table}" WHERE "{column}" <> %s ORDER BY "{key}"', [""])  # noqa: S608
        rows = cursor.fetchall()
    for pk, token in rows:
        yield StoredSecret(model, column, pk, token)


def _reads(key: Fernet, token: str) -> bool:
    try:
        key.decrypt(token.encode())
    except InvalidToken:
        return False
    return True
