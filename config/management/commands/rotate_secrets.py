"""Encrypt all stored secrets anew."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from billing.commands import print_result, say
from billing.encrypted import decrypt, encrypt
from config.stored_secrets import StoredSecret, stored_secrets


class Command(BaseCommand):
    help = (
        "Encrypt every stored secret anew with the newest of FIELD_ENCRYPTION_KEYS; afterwards the older keys can go. "
        "Safe to repeat, and while running. Exit 1 when a secret cannot be read with any key."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the result is JSON in any case")

    def handle(self, **_options: Any) -> None:
        rotated = unreadable = 0
        for secret in stored_secrets():
            try:
                _replace(secret)
                rotated += 1
            except ImproperlyConfigured:
                unreadable += 1
                name = f"{secret.model._meta.verbose_name} {secret.pk}: {secret.column}"
                say(self, f"{name} cannot be read with any of the keys.")
        print_result(self, {"rotated": rotated, "unreadable": unreadable})
        if unreadable:
            raise SystemExit(1)


def _replace(secret: StoredSecret) -> None:
    """Write the secret under the newest key, unless somebody has just stored another one."""
    table, key, column = secret.model._meta.db_table, secret.model._meta.pk.column, secret.column
    fresh = encrypt(decrypt(secret.token))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE "{table}" SET "{column}" = %s WHERE "{key}" = %s AND "{column}" = %s',  # noqa: S608
            [fresh, secret.pk, secret.token],
        )
