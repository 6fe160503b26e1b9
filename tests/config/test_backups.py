"""Backups: one moment of the whole database, put back whole or not at all, on either kind of database."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.utils import DatabaseError
from django.utils import timezone

from billing import forgetting as asked
from billing.models import Customer, StripeEvent
from config import forgetting
from config.backups import archive, restoring, tables, writing
from mrr import fingerprints, seals
from mrr.models import LedgerEntry
from tests.databases import living_in
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db  # the test run's own database is made, and copied


def a_company() -> Scenario:
    """Two customers, one of whom left and came back, with a person who closes months and seals over all."""
    told = Scenario()
    acme, umlaut = told.customer("Acme"), told.customer("Möbel \\ 'Groß' \t☃")
    acme.subscribes("team", monthly="30.00", on="2026-01-10")
    acme.cancels(on="2026-02-15")
    acme.subscribes("team", monthly="50.00", on="2026-05-02")
    umlaut.subscribes("team", yearly="600.00", on="2026-03-01")
    get_user_model().objects.create_user("fiona")
    seals.seal_all(now=timezone.now())
    return told


def backed_up(path: Path) -> writing.Written:
    return writing.write(path, now=timezone.now())


@pytest.fixture(scope="module")
def company(tmp_path_factory, empty_sqlite, django_db_blocker) -> Path:
    """A folder with the company's database (`ledger.sqlite3`) and a backup of it (`copy`)."""
    folder = tmp_path_factory.mktemp("company")
    shutil.copy(empty_sqlite, folder / "ledger.sqlite3")
    with django_db_blocker.unblock(), living_in(f"sqlite:///{folder}/ledger.sqlite3"):
        a_company()
        backed_up(folder / "copy")
    return folder


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
WAYS = [
    ("sqlite", "sqlite"),
    pytest.param(("sqlite", "postgres"), marks=pytest.mark.postgres),
    pytest.param(("postgres", "sqlite"), marks=pytest.mark.postgres),
]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_restored_is_what_was_there(place, tmp_path, way):
    with living_in(place(way[0])):
        a_company()
        written = backed_up(tmp_path / "copy")
        fingerprint = fingerprints.of_standing()
        newest = LedgerEntry.objects.latest("pk").pk

    with living_in(place(way[1])):
        restored = restoring.restore(tmp_path / "copy")
        again = backed_up(tmp_path / "again")

        assert restored.differences == ()
        assert written.manifest.fingerprint == again.manifest.fingerprint == fingerprint
        assert {one.table: one.sha256 for one in again.manifest.tables} == {
            one.table: one.sha256 for one in written.manifest.tables
        }
        assert tables.last_key(of("mrr_ledgerentry")) == newest
        with pytest.raises(DatabaseError, match="append-only"):
            LedgerEntry.objects.filter(pk=newest).update(reason="another")


def of(name: str) -> tables.Table:
    return next(table for table in tables.all_tables() if table.name == name)


def test_every_table_is_in_a_backup_or_named_as_left_out():
    every = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}

    assert {table.name for table in tables.all_tables()} == every - tables.LEFT_OUT
    assert every >= tables.LEFT_OUT


@pytest.mark.parametrize("kind", DATABASES)
def test_a_backup_is_one_moment_though_events_go_on(place, tmp_path, kind):
    with living_in(place(kind)):
        told = a_company()
        stop, another = threading.Event(), threading.Semaphore(0)
        writer = threading.Thread(target=keep_telling, args=(told, stop, another))
        writer.start()
        written = []
        try:
            for number in range(3):
                written.append(backed_up(tmp_path / f"{number}"))
                while another.acquire(blocking=False):
                    pass
                assert another.acquire(timeout=60)  # events went on
        finally:
            stop.set()
            writer.join()
        kept = StripeEvent.objects.count()

    assert written[0].manifest.fingerprint != written[2].manifest.fingerprint
    with living_in(place("sqlite")):
        restored = restoring.restore(tmp_path / "1")

        assert restored.differences == ()
        assert 0 < StripeEvent.objects.count() < kept
        assert {path.name for path in tmp_path.iterdir() if path.name.endswith(".part")} == set()


def keep_telling(told: Scenario, stop: threading.Event, another: threading.Semaphore) -> None:
    number = 0
    try:
        while not stop.is_set():
            number += 1
            told.customer(f"Another {number}").subscribes("team", monthly="10.00", on="2026-06-01")
            another.release()
    finally:
        connections.close_all()


def test_a_database_with_rows_is_refused(company):
    with living_in(f"sqlite:///{company}/ledger.sqlite3"):
        before = LedgerEntry.objects.count()

        with pytest.raises(restoring.Refused, match="not empty"):
            restoring.restore(company / "copy")

        assert LedgerEntry.objects.count() == before


def test_a_missing_field_key_is_named_before_anything_is_begun(place, company, settings):
    with archive.reading(company / "copy") as (_, manifest):
        [name] = manifest.field_keys

    settings.FIELD_ENCRYPTION_KEYS = ["YW5vdGhlci1hbm90aGVyLWFub3RoZXItYW5vdGhlci0="]
    with living_in(place("sqlite")):
        with pytest.raises(restoring.Refused, match=name):
            restoring.restore(company / "copy")

        assert not StripeEvent.objects.exists()
    with zipfile.ZipFile(company / "copy") as file:
        assert not any(b"dGVzdHMtdGVzdHMt" in file.read(name) for name in file.namelist())


def changed(path: Path, other: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Write a backup anew with other members, as a person with an editor would."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return other


def manifest_with(change: Callable[[dict[str, Any]], None]) -> Callable[[str, bytes], bytes]:
    def act(name: str, content: bytes) -> bytes:
        if name != archive.MANIFEST:
            return content
        said = json.loads(content)
        change(said)
        return json.dumps(said).encode()

    return act


def newer(said: dict[str, Any]) -> None:
    said["migrations"]["mrr"].append("9999_from_the_future")


def another_format(said: dict[str, Any]) -> None:
    said["format"] = "mrr-ledger-backup/2"


def a_name_that_is_sql(said: dict[str, Any]) -> None:
    said["tables"][0]["table"]["name"] = 'a" ("id") SELECT 1; --'


def another_amount(name: str, content: bytes) -> bytes:
    return content.replace(b"3000000000", b"4000000000") if "ledgerentry" in name else content


def a_row_less(name: str, content: bytes) -> bytes:
    return content[: content[:-1].rindex(b"\n") + 1] if "ledgerentry" in name else content


DAMAGES = [
    (manifest_with(newer), "newer version"),
    (manifest_with(another_format), "format"),
    (manifest_with(a_name_that_is_sql), "cannot be"),
    (another_amount, "rows of mrr_ledgerentry"),
    (a_row_less, "rows of mrr_ledgerentry"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_what_is_not_as_it_was_written_is_refused_whole(place, company, tmp_path, damage, said):
    with living_in(place("sqlite")):
        with pytest.raises(restoring.Refused, match=said):
            restoring.restore(changed(company / "copy", tmp_path / "changed", damage))

        assert not LedgerEntry.objects.exists()
        assert restoring.restore(company / "copy").differences == ()  # it can be tried again at once


def test_a_file_cut_short_is_refused(place, company, tmp_path):
    (tmp_path / "short").write_bytes((company / "copy").read_bytes()[:-100])

    with living_in(place("sqlite")), pytest.raises(restoring.Refused, match="cannot be read as a backup"):
        restoring.restore(tmp_path / "short")


def test_a_backup_takes_its_name_when_it_is_whole(place, tmp_path, monkeypatch):
    path = tmp_path / "copy"
    with living_in(place("sqlite")):
        backed_up(path)
        first = path.read_bytes()
        monkeypatch.setattr(fingerprints, "of_standing", lambda: 1 // 0)

        with pytest.raises(ZeroDivisionError):
            backed_up(path)

    assert path.read_bytes() == first
    assert [one.name for one in tmp_path.glob("copy*")] == ["copy"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_restore_leaves_salesforce_closed_until_its_end(place, tmp_path):
    from crm.models import SalesforceOrg

    with living_in(place("sqlite")):
        SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com", mode="live")
        backed_up(tmp_path / "copy")

    with living_in(place("sqlite")):
        restoring.restore(tmp_path / "copy")

        [until] = SalesforceOrg.objects.values_list("paused_until", flat=True)
        assert until > timezone.now() + timedelta(days=365)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Run a command; return its exit code and the object on the last line of its standard output."""
    capsys.readouterr()
    code = 0
    try:
        call_command(*words)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_commands_say_what_was_done_and_what_is_left(place, company, tmp_path, capsys):
    with living_in(f"sqlite:///{company}/ledger.sqlite3"):
        code, said = run(capsys, "backup", str(tmp_path / "copy"))
        refused = run(capsys, "restore", str(tmp_path / "copy"))

    assert code == 0
    assert said["sha256"] == hashlib.sha256((tmp_path / "copy").read_bytes()).hexdigest()
    assert (refused[0], refused[1]["restored"]) == (1, False)

    with living_in(place("sqlite")):
        code, done = run(capsys, "restore", str(tmp_path / "copy"))

        assert code == 1, "the source has no API key, so somebody must bring the events since"
        assert done["restored"]
        assert done["fingerprint"] == said["fingerprint"]
        assert "no API key" in done["waits_for"][0]
        assert not done["salesforce_held"]

    with living_in(place("sqlite")):
        code, moved = run(capsys, "restore", str(tmp_path / "copy"), "--nothing-since")

        assert (code, moved["waits_for"]) == (0, [])


@pytest.mark.parametrize("words", [("backup", "/nowhere/copy"), ("restore", "/nowhere/copy")])
def test_a_path_that_cannot_be_is_wrong_use(words):
    with pytest.raises(CommandError) as error:
        call_command(*words)

    assert error.value.returncode == 2


def test_who_was_forgotten_since_the_backup_is_forgotten_again(place, tmp_path, settings, capsys):
    settings.DATA_DIR = tmp_path
    with living_in(place("sqlite")):
        acme = a_company().customer("Canary Quill", email="canary@quill.example")
        backed_up(tmp_path / "copy")
        asked.ask("acme", acme.id, by="ann", reason="As asked.", now=timezone.now())
        assert forgetting.run_due(now=timezone.now()) == 1

    with living_in(place("sqlite")):
        _, said = run(capsys, "restore", str(tmp_path / "copy"))
        bodies = b"".join(bytes(body) for body in StripeEvent.objects.values_list("body", flat=True))

        assert said["forgotten_again"] == 1
        assert said["differences"] == 0
        assert b"anary" not in bodies
        assert not Customer.objects.filter(name__contains="Canary").exists()
