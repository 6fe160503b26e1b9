"""Keeps secrets encrypted in the database, with keys of their own that can be rotated."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


class EncryptedTextField(models.TextField):
    """A text column whose database value is a Fernet token; in Python it is the clear text.

    The newest of FIELD_ENCRYPTION_KEYS encrypts, any of them decrypts. It cannot be searched.
    """

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return encrypt(value) if value else value

    def from_db_value(self, value: str | None, _expression: Any, _connection: Any) -> str | None:
        return decrypt(value) if value else value


def encrypt(clear: str) -> str:
    """Return the Fernet token of a text, made with the newest key."""
    return _fernet(tuple(settings.FIELD_ENCRYPTION_KEYS)).encrypt(clear.encode()).decode()


def decrypt(token: str) -> str:
    """Return the clear text of a token; raises ImproperlyConfigured when no key fits."""
    return _decrypted(token, tuple(settings.FIELD_ENCRYPTION_KEYS))


@lru_cache(maxsize=256)  # the webhook reads its signing secrets for each event
def _decrypted(token: str, keys: tuple[str, ...]) -> str:
    try:
        return _fernet(keys).decrypt(token.encode()).decode()
    except InvalidToken:
        raise ImproperlyConfigured(
            "A stored secret cannot be read with any of FIELD_ENCRYPTION_KEYS. "
            "Add the key it was written with to the end of the list."
        ) from None


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise ImproperlyConfigured("Each of FIELD_ENCRYPTION_KEYS must be urlsafe base64 of 32 bytes.") from None
