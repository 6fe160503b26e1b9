"""Encrypt all stored secrets anew."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand
from django.db import connection, models, transaction

from billing.commands import print_result, say
from billing.encrypted import EncryptedTextField, decrypt, encrypt


class Command(BaseCommand):
    help = (
        "Encrypt every stored secret anew with the newest of FIELD_ENCRYPTION_KEYS; afterwards the older keys can go. "
        "Safe to repeat, and while running. Exit 1 when a secret cannot be read with any key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, **_options: Any) -> None:
        rotated = unreadable = 0
        for model, column in _secret_columns():
            for pk, token in _tokens(model, column):
                try:
                    _replace(model, column, pk, token)
                    rotated += 1
                except ImproperlyConfigured:
                    unreadable += 1
                    say(self, f"{model._meta.verbose_name} {pk}: {column} cannot be read with any of the keys.")
        print_result(self, {"rotated": rotated, "unreadable": unreadable})
        if unreadable:
            raise SystemExit(1)


def _secret_columns() -> Iterator[tuple[type[models.Model], str]]:
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedTextField):
                yield model, str(field.column)


def _tokens(model: type[models.Model], column: str) -> list[tuple[Any, str]]:
    """The stored tokens as they are: reading through the model would already decrypt them."""
    table, key = model._meta.db_table, model._meta.pk.column
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT "{key}", "{column}" FROM "{table}" WHERE "{column}" <> %s ORDER BY "{key}"', [""])  # noqa: S608
        return cursor.fetchall()


def _replace(model: type[models.Model], column: str, pk: Any, token: str) -> None:
    """Write the secret under the newest key, unless somebody has just stored another one."""
    table, key = model._meta.db_table, model._meta.pk.column
    fresh = encrypt(decrypt(token))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE "{table}" SET "{column}" = %s WHERE "{key}" = %s AND "{column}" = %s',  # noqa: S608
            [fresh, pk, token],
        )
