"""Somebody lifts the database's rules and changes something: check_ledger names it, and only it."""

from __future__ import annotations

import json
from datetime import date, timedelta
from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from billing.append_only import protect, redactable
from billing.models import StripeEvent
from mrr import check, close, digests, seals
from mrr.models import BookAction, BookState, CustomerBalance, LedgerEntry, MonthRollup, Seal
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
LATER = timedelta(hours=2)  # by then whatever was being committed is committed


@pytest.fixture
def company():
    """Two months of three customers, January closed, all sealed."""
    acme = Scenario("acme")
    ada, bob, cleo = (acme.customer(name) for name in ("Ada", "Bob", "Cleo"))
    ada.subscribes("team", monthly="100.00", on="2026-01-10")
    bob.subscribes("team", monthly="40.00", on="2026-01-12")
    close.close(date(2026, 1, 1), user=_finance(), now=timezone.now())
    ada.moves_to("business", monthly="150.00", on="2026-02-03")
    cleo.subscribes("team", monthly="40.00", on="2026-02-05")
    bob.cancels(on="2026-02-20")
    seals.seal_all(now=timezone.now())
    return acme


def _finance():
    user = get_user_model().objects.create(username="fiona")
    user.groups.add(Group.objects.get_or_create(name="finance")[0])
    return user


def found() -> list[str]:
    differences: list[str] = []
    check.check(now=timezone.now() + LATER, tell=differences.append)
    return differences


def lift(*tables: str) -> None:
    """Take the rules off tables, as somebody who owns the database can."""
    editor = _Editor()
    for table in tables:
        protect(table).reverse_code(None, editor)
        if table == "billing_stripeevent":
            redactable(table).reverse_code(None, editor)


class _Editor:
    """What `protect` needs of a schema editor, inside the test's transaction."""

    connection = connection

    def __init__(self) -> None:
        if connection.vendor == "postgresql":
            self.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def execute(self, statement: str, params: object = ()) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, params)


def entry_of(customer: str, kind: str) -> LedgerEntry:
    return LedgerEntry.objects.get(customer__name=customer, type=kind)


def run(sql: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def test_an_untouched_ledger_has_nothing_to_tell(company):
    assert found() == []


@pytest.mark.parametrize("table", ["mrr_ledgerentry", "mrr_seal", "mrr_bookaction"])
def test_the_database_refuses_changes_and_deletes(company, table):
    for statement in (f"UPDATE {table} SET digest = ''", f"DELETE FROM {table}"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            run(statement)


def test_an_edited_amount_names_its_entry(company):
    entry = entry_of("Ada", "expansion")
    lift("mrr_ledgerentry")
    run("UPDATE mrr_ledgerentry SET amount_micros = amount_micros + 1 WHERE id = %s", entry.pk)

    told = found()

    assert (
        told[-1] == f"entry {entry.key}: it, or the hash of one of its events' bodies, was changed after it was posted"
    )
    assert _only(told, entry)


def test_an_edited_amount_with_its_hash_made_anew_names_its_entry_and_its_seal(company):
    entry = entry_of("Ada", "expansion")
    lift("mrr_ledgerentry")
    _forge(entry, amount_micros=entry.amount_micros + 1)

    told = found()

    assert any(line.startswith(f"seal {seals.head().number}: ") for line in told)
    assert any(line.startswith(f"entry {entry.key}: its lines do not add up") for line in told)
    assert _only([line for line in told if not line.startswith("seal")], entry)


def test_an_edited_line_names_its_entry(company):
    entry = entry_of("Cleo", "new")
    lift("mrr_ledgerentry")
    lines = [{**entry.lines[0], "price": "price_other"}]
    run(f"UPDATE mrr_ledgerentry SET lines = {_json()} WHERE id = %s", json.dumps(lines), entry.pk)

    told = found()

    assert any(line.startswith(f"entry {entry.key}: it, or the hash") for line in told)
    assert _only(told, entry)


def test_a_deleted_last_entry_is_missed(company):
    entry = LedgerEntry.objects.order_by("pk").last()
    lift("mrr_ledgerentry")
    run("DELETE FROM mrr_ledgerentry WHERE id = %s", entry.pk)

    told = found()

    assert f"entry of row {entry.pk}: seal {seals.head().number} covers it, and it is gone" in told
    assert _only([line for line in told if "entry of row" not in line], entry)


def test_a_chain_whose_end_is_cut_off_is_missed(company):
    _nightly()
    last = seals.head()
    lift("mrr_seal")
    run("DELETE FROM mrr_seal WHERE id = %s", last.pk)

    told = found()

    assert [line for line in told if line.startswith(f"seal {last.number}: the check of")] == told


def test_a_forged_entry_inserted_in_the_past_is_in_no_seal(company):
    """Everything about it is right, its hash too; but it was not there when the others were sealed."""
    first, last = LedgerEntry.objects.order_by("pk").first(), LedgerEntry.objects.order_by("pk").last()
    forged = LedgerEntry(
        **{
            field.attname: getattr(last, field.attname)
            for field in LedgerEntry._meta.concrete_fields
            if field.attname not in ("id", "key", "sequence", "reverses_id")
        }
        | {"key": "mle_forged", "sequence": 99, "type": "expansion", "amount_micros": 5}
    )
    forged.lines = [{**last.lines[0], "micros": 5}]
    forged.digest = digests.of_entry(forged, reverses="", bodies=_bodies(forged))
    forged.pk = first.pk - 1
    forged.save(force_insert=True)
    seals.seal_all(now=timezone.now() + LATER)  # the sealing job must not bless it

    told = found()

    assert "entry mle_forged: no seal covers it, though later ones are sealed" in told
    assert all("mle_forged" in line for line in told)


def test_an_edited_seal_is_named(company):
    seal = seals.head()
    lift("mrr_seal")
    run("UPDATE mrr_seal SET digest = %s WHERE id = %s", "0" * 64, seal.pk)

    assert found() == [f"seal {seal.number}: it, or the hash kept on an entry that it covers, was changed"]


def test_an_edited_seal_in_the_middle_with_its_hash_made_anew_is_named(company):
    seal = Seal.objects.get(number=seals.head().number - 1)
    lift("mrr_seal")
    seal.made_at += timedelta(days=1)
    covered = LedgerEntry.objects.filter(pk__in=[pk for a, b in seal.ranges for pk in range(a, b + 1)]).order_by("pk")
    digest = seals.digest_of(seal, covered.values_list("digest", flat=True))
    Seal.objects.filter(pk=seal.pk).update(made_at=seal.made_at, digest=digest)

    told = found()

    assert told[0] == f"seal {seal.number}: it was changed after seal {seal.number + 1} had been set on it"
    assert all(f"seal {seal.number}" in line for line in told)


def test_an_edited_roll_up_is_named(company):
    MonthRollup.objects.filter(month=date(2026, 2, 1)).update(churn_micros=0)

    (told,) = found()

    assert told.startswith("MonthRollup source")
    assert "usd 2026-02: keeps churn_micros 0, which comes to -4000000000" in told


def test_an_edited_balance_is_named(company):
    CustomerBalance.objects.filter(customer__name="Cleo").update(acquired_micros=7)

    (told,) = found()

    cleo = CustomerBalance.objects.get(acquired_micros=7).customer
    assert told == f"{cleo.stripe_id}: the balance in usd keeps acquired_micros 7, which comes to 4000000000"


def test_an_edited_event_body_is_named(company):
    event = StripeEvent.objects.get(type="customer.subscription.deleted")
    lift("billing_stripeevent")
    StripeEvent.objects.filter(pk=event.pk).update(body=bytes(event.body).replace(b"canceled", b"CANCELED"))

    assert found() == [f"event {event.stripe_id} (acme): its body is not what was received"]


def test_an_edited_event_body_with_its_hash_made_anew_names_the_entries_it_caused(company):
    event = StripeEvent.objects.get(type="customer.subscription.deleted")
    lift("billing_stripeevent")
    body = bytes(event.body).replace(b"canceled", b"CANCELED")
    StripeEvent.objects.filter(pk=event.pk).update(body=body, body_sha256=digests.of_text(body.decode()))

    (told,) = found()

    assert told.startswith(f"entry {entry_of('Bob', 'churn').key}: it, or the hash of one of its events' bodies")


def test_an_edited_close_is_named(company):
    lift("mrr_bookaction")
    action = BookAction.objects.get(kind="closed")
    action.figures[0]["closing_micros"] += 1
    BookAction.objects.filter(pk=action.pk).update(figures=action.figures)

    told = found()

    assert told[0] == "2026-01 closed (action 1): it was changed after it was written"
    assert all("2026-01 closed" in line for line in told)


def test_a_deleted_close_is_missed(company):
    lift("mrr_bookaction")
    run("DELETE FROM mrr_bookaction")

    assert found() == [
        "book actions: the newest seal covers one that is gone",
        "books: they say closed through 2026-01-01, the actions say None",
    ]


def test_books_opened_without_anybody_asking_are_named(company):
    BookState.objects.update(closed_through=None)

    assert found() == ["books: they say closed through None, the actions say 2026-01-01"]


def test_an_entry_moved_into_a_closed_month_is_named(company):
    entry = entry_of("Cleo", "new")
    lift("mrr_ledgerentry")
    _forge(entry, book_month=date(2026, 1, 1), backdated_from=date(2026, 1, 5))

    told = found()

    assert "2026-01 closed (action 1): 3 entries are booked in it, at the close there were 2" in told


def test_the_command_says_so_and_repair_does_not_hide_it(company):
    entry = entry_of("Ada", "expansion")
    lift("mrr_ledgerentry")
    run("UPDATE mrr_ledgerentry SET reason = 'manual' WHERE id = %s", entry.pk)
    before = list(LedgerEntry.objects.order_by("pk").values())

    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("check_ledger", stdout=out, stderr=err)
    said = json.loads(out.getvalue().splitlines()[-1])

    assert ended.value.code == 1
    assert list(said)[:4] == ["customers", "entries", "differences", "fingerprint"]
    assert said["differences"] == len(err.getvalue().splitlines())
    assert entry.key in err.getvalue()
    call_command("check_ledger", "--repair", stdout=StringIO(), stderr=StringIO())
    after = list(LedgerEntry.objects.order_by("pk").values())
    assert after[: len(before)] == before  # what was changed stays as it is, for whoever looks into it
    with pytest.raises(SystemExit):
        call_command("check_ledger", stdout=StringIO(), stderr=err)


def test_a_redacted_body_breaks_no_entry(company):
    """Hashes cover the SHA-256 that was kept, never the body: only the event itself is told of."""
    event = StripeEvent.objects.get(type="customer.subscription.deleted")
    lift("billing_stripeevent")
    StripeEvent.objects.filter(pk=event.pk).update(body=b"{}")

    assert found() == [f"event {event.stripe_id} (acme): its body is not what was received"]


# ---- helpers ----


def _only(told: list[str], entry: LedgerEntry) -> bool:
    """Every line names the entry, its customer, or the seal that covers it; no other customer, month or sum."""
    return bool(told) and all(entry.key in line or entry.customer.stripe_id in line for line in told)


def _forge(entry: LedgerEntry, **columns: object) -> None:
    """Change an entry and make its hash anew, as somebody would who has read the code."""
    for name, value in columns.items():
        setattr(entry, name, value)
    reverses = entry.reverses.key if entry.reverses else ""
    digest = digests.of_entry(entry, reverses=reverses, bodies=_bodies(entry))
    LedgerEntry.objects.filter(pk=entry.pk).update(**columns, digest=digest)


def _bodies(entry: LedgerEntry) -> dict[tuple[int, str], str]:
    kept = StripeEvent.objects.filter(source_id=entry.source_id, stripe_id__in=entry.event_ids)
    return {(entry.source_id, name): sha for name, sha in kept.values_list("stripe_id", "body_sha256")}


def _json() -> str:
    return "%s::jsonb" if connection.vendor == "postgresql" else "%s"


def _nightly() -> None:
    while (row := check.check_some(now=timezone.now(), seconds=5)) and row.finished_at is None:
        pass
