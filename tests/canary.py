"""A person made up of words that stand nowhere else, and a look into every table, file and packed value for them."""

from __future__ import annotations

import base64
import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection

from billing import encrypted

NAME = "Jane Qanary"
EMAIL = "jane.qanary@qanary-mail.example"
PHONE = "+31677778888"
IP = "203.0.113.77"
ADDRESS = {"line1": "Qanarystraat 12", "line2": "behind the qanary", "city": "Qanaryville", "postal_code": "7777 QN"}
METADATA = {"nickname": "qanary bird", "jane.qanary@qanary-mail.example": "yes"}
DESCRIPTION = "Sings like a qanary"
WORDS = ("qanary", "677778888", "203.0.113.77", "7777 qn")


def hits_in_tables() -> list[str]:
    """Return table and column of every value that holds a word of the person, packed or not."""
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                for name, value in zip(columns, row, strict=True):
                    if any(_holds(opened) for opened in _opened(value)):
                        found.add(f"{table}.{name}")
    return sorted(found)


def hits_in_files(folder: Path) -> list[str]:
    """Return the files below a folder that hold a word of the person; archives are opened."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            raw = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    raw += [archive.read(name) for name in archive.namelist()]
            if any(_holds(part) for part in raw):
                found.append(path.name)
    return found


def holds(text: object) -> bool:
    return _holds(str(text).encode())


def _holds(raw: bytes) -> bool:
    lowered = raw.lower()
    return any(word.encode() in lowered for word in WORDS)


def _opened(value: Any) -> Iterator[bytes]:
    """Yield a column's value as bytes, and what it is when it is decrypted, decoded and unpacked."""
    if value is None:
        return
    if isinstance(value, memoryview | bytes | bytearray):
        raw = bytes(value)
    elif isinstance(value, dict | list):
        raw = json.dumps(value, ensure_ascii=False).encode()
    else:
        raw = str(value).encode()
        with contextlib.suppress(ValueError):
            yield json.dumps(json.loads(raw), ensure_ascii=False).encode()
    yield raw
    if raw.startswith(b"gAAAA"):
        yield encrypted.decrypt(raw.decode()).encode()
    for part in (raw, *raw.replace(b".", b":").split(b":")):
        with contextlib.suppress(ValueError):
            decoded = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
            yield decoded
            with contextlib.suppress(zlib.error):
                yield zlib.decompress(decoded)
