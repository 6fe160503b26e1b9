"""The fingerprint: one SHA-256 of the standing ledger, however it came about and on whatever database."""

from __future__ import annotations

import hashlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from django.db import connection, transaction

from billing import selectors as billing
from mrr import ledger
from mrr.engine.movements import Movement

CHUNK = 500
LINES_IN_MEMORY = 200_000


def of_standing() -> str:
    """Return the fingerprint of all that stands, as posted; whether it is right is another question.

    The caller sees to it that nothing changes meanwhile (`one_view`).
    """
    with Lines() as lines:
        after = 0
        while pks := billing.next_customer_pks(after=after, limit=CHUNK):
            names = billing.customers(pks)
            for pk, stands in ledger.standing_with_keys(pks).items():
                lines.add(
                    fingerprint_line(names[pk].source_slug, names[pk].stripe_id, movement) for movement, _ in stands
                )
            after = pks[-1]
        return lines.fingerprint()


def fingerprint(lines: Iterable[str]) -> str:
    """Return the SHA-256 of the standing ledger's lines, sorted, each ended by a newline."""
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def fingerprint_line(source_slug: str, customer_id: str, movement: Movement) -> str:
    """Write one standing entry as the fingerprint reads it."""
    items = ",".join(sorted(f"{line.item}:{line.micros}" for line in movement.lines))
    return "\t".join(
        (
            source_slug,
            customer_id,
            movement.currency,
            str(movement.effective_at),
            movement.type,
            movement.reason,
            str(movement.micros),
            items,
        )
    )


@contextmanager
def one_view() -> Iterator[None]:
    """Read as if nobody wrote meanwhile, and keep nobody from writing."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:  # Django's own transactions of SQLite would hold the one place to write
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("COMMIT")


class Held(list[str]):
    """The lines of one piece of work, on their way to the process that sorts them all."""

    def add(self, lines: Iterable[str]) -> None:
        self.extend(lines)


class Lines:
    """Sorts any number of lines: what does not fit into memory waits in files."""

    def __enter__(self) -> Lines:
        self._files = ExitStack()
        self._spilled: list[IO[str]] = []
        self._held: list[str] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, lines: Iterable[str]) -> None:
        self._held += lines
        if len(self._held) >= LINES_IN_MEMORY:
            file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115  # closed with the others
            self._files.callback(file.close)
            file.writelines(f"{line}\n" for line in sorted(self._held))
            self._spilled.append(file)
            self._held = []

    def fingerprint(self) -> str:
        if not self._spilled:
            return fingerprint(self._held)
        for file in self._spilled:
            file.seek(0)
        digest = hashlib.sha256()
        held = (f"{line}\n" for line in sorted(self._held))
        for line in heapq.merge(*self._spilled, held):
            digest.update(line.encode())
        return digest.hexdigest()
