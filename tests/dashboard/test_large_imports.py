"""Large files: done by a worker part by part, taken up after a kill, and nothing of them twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from billing.models import Customer, StripeSource
from config import tasks
from crm import given
from crm.models import FinanceMrr, UsageSignal
from dashboard.imports import applying, working
from dashboard.imports.finance import FINANCE
from dashboard.models import Import, ImportChange, Work
from dashboard.roles import Role
from tests.dashboard.test_pages import page_of, text_of
from tests.databases import living_in
from tests.installations import manage, start, wait_until

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
LARGE = 2400  # rows: three parts

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer() -> Customer:
    source = StripeSource.objects.create(slug="main", livemode=True, created_at=NOW)
    return Customer.objects.create(source=source, stripe_id="cus_a")


def months(count: int, *, amount: int = 0) -> bytes:
    """A file of finance's MRR: so many months of one customer, each with another amount."""
    lines = (f"cus_a,{1800 + n // 12}-{n % 12 + 1:02},{n + amount},usd\n" for n in range(count))
    return f"customer,month,amount,currency\n{''.join(lines)}".encode()


def figures() -> list[int]:
    return list(FinanceMrr.objects.order_by("month").values_list("amount_minor", flat=True))


def brought(body: bytes, *, is_read: bool = True) -> Import:
    one = applying.bring(FINANCE, "sheet.csv", body, by="ana", now=NOW)
    if is_read:
        work(one)
    return one


def applied(body: bytes) -> Import:
    one = brought(body)
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)
    return work(one)


def work(one: Import, *, parts: int = 100) -> Import:
    """Have a worker take the file up, who is stopped after so many parts."""
    left = iter(range(parts))
    working.carry_on(now=NOW, goes_on=lambda: next(left, None) is not None)
    one.refresh_from_db()
    return one


def import_page(client: Client, one: Import) -> Any:
    return client.get(f"/dashboard/imports/{one.pk}/")


def test_a_large_file_is_read_applied_and_undone_by_a_worker(customer, monkeypatch):
    monkeypatch.setattr(tasks, "LINGER_SECONDS", 0.0)
    woken: list[str] = []
    monkeypatch.setattr(applying, "wake", lambda: woken.append("imports"))
    finance = page_of(Role.FINANCE)
    file = SimpleUploadedFile("sheet.csv", months(LARGE))

    shown = text_of(finance.post("/dashboard/imports/?kind=finance", {"file": file}, follow=True))
    assert "Reading" in shown and "0 of 2,400 rows" in shown and "Throw it away" in shown and "Apply" not in shown
    tasks.run_imports()
    one = Import.objects.get()
    assert "Apply 2,400 rows" in text_of(import_page(finance, one))

    shown = text_of(finance.post(f"/dashboard/imports/{one.pk}/apply/", follow=True))
    assert "Applying" in shown and "0 of 2,400 rows" in shown and "Stop and undo" in shown
    assert figures() == []
    tasks.run_imports()
    assert figures() == [n * 100 for n in range(LARGE)]
    assert "What it did" in text_of(import_page(finance, one))

    finance.post(f"/dashboard/imports/{one.pk}/undo/")
    assert len(figures()) == LARGE
    tasks.run_imports()
    one.refresh_from_db()
    assert (figures(), one.work, one.undone_by) == ([], "", "finance-person")
    assert woken == ["imports"] * 3


def test_the_page_asks_anew_only_while_there_is_work(customer):
    finance = page_of(Role.FINANCE)
    one = brought(months(LARGE), is_read=False)

    assert b'hx-trigger="every 2s"' in import_page(finance, one).content
    work(one)
    assert b"hx-trigger" not in import_page(finance, one).content.split(b'id="import"')[1]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_work_that_is_stopped_after_any_part_goes_on_and_does_nothing_twice(customer, parts):
    applied(months(1100, amount=7))
    one = brought(months(LARGE))
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)

    for _ in range(6):
        work(one, parts=3 + parts if not one.done else parts + one.done // 1000)  # it reads what is behind it again

    assert (one.added, one.changed, one.already, one.bad, one.work) == (LARGE - 1100, 1100, 0, 0, "")
    assert figures() == [n * 100 for n in range(LARGE)]
    applying.undo(one.pk, by="ana", now=NOW)
    for _ in range(6):
        work(one, parts=parts if one.done else 3 + parts)
    assert figures() == [(n + 7) * 100 for n in range(1100)]
    assert (one.done, one.problem, one.undone_at) == (LARGE, "", NOW)


def test_two_workers_on_one_file_keep_each_row_once(customer, monkeypatch):
    one = brought(months(LARGE))
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)

    def second_works_too() -> bool:
        working.work_on(one.pk, now=NOW)
        return True

    working.work_on(one.pk, now=NOW, goes_on=second_works_too)

    one.refresh_from_db()
    assert (one.added, one.done, ImportChange.objects.count(), one.work) == (LARGE, LARGE, LARGE, "")
    assert LogEntry.objects.filter(object_repr=f"finance {one.pk}").count() == 1


def test_one_that_is_still_being_applied_can_be_stopped_and_is_put_back(customer):
    one = brought(months(LARGE))
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)
    work(one, parts=5)
    assert 0 < len(figures()) < LARGE

    applying.undo(one.pk, by="ana", now=NOW)
    work(one)

    assert (figures(), one.body, one.undone_at, one.problem) == ([], None, NOW, "")


def test_a_bad_row_that_came_up_since_holds_all_back_and_says_so(customer):
    one = brought(months(LARGE))
    second = StripeSource.objects.create(slug="second", livemode=True, created_at=NOW)
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)
    Customer.objects.create(source=second, stripe_id="cus_a")

    work(one)

    assert (one.work, one.applied_at, one.problem) == ("", None, "2400 bad rows: mend the file, or leave them out.")
    shown = text_of(import_page(page_of(Role.FINANCE), one))
    assert "2400 bad rows: mend the file" in shown and "Nothing is changed yet" in shown


def test_what_somebody_changed_during_an_undo_stays_and_is_counted(customer):
    one = applied(months(LARGE))
    applying.undo(one.pk, by="ana", now=NOW)
    work(one, parts=4)
    last = FinanceMrr.objects.latest("month")
    given.keep_finance_mrr({(customer.pk, last.month, "usd"): 1})

    work(one)

    assert (figures(), one.problem) == ([1], "1 places were changed by somebody meanwhile and stay as they are.")


def test_a_second_file_of_the_kind_waits_for_the_first(customer):
    first, second = brought(months(LARGE)), brought(months(LARGE))
    applying.apply(first.pk, skips_bad=False, by="ana", now=NOW)

    with pytest.raises(working.NotDone, match="Another import of this kind is being applied"):
        applying.apply(second.pk, skips_bad=False, by="ana", now=NOW)


def test_what_fails_says_so_and_is_tried_again_later(customer, monkeypatch):
    one = brought(months(LARGE))
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)

    def full(_values: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(given, "keep_finance_mrr", full)
        work(one)
    assert "It stopped (OSError)." in text_of(import_page(page_of(Role.FINANCE), one))
    assert not working.is_due(now=NOW)

    working.carry_on(now=NOW + timedelta(minutes=6), goes_on=lambda: True)
    one.refresh_from_db()
    assert (one.work, one.problem, len(figures())) == ("", "", LARGE)


def test_forgetting_a_person_lets_a_file_go_in_the_middle_and_it_can_be_undone(customer):
    one = brought(months(LARGE))
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)
    work(one, parts=5)
    kept = len(figures())

    applying.throw_away_all()

    one.refresh_from_db()
    assert (one.body, one.work, one.added, one.problem) == (None, "", kept, applying.LET_GO)
    applying.undo(one.pk, by="ana", now=NOW)
    assert work(one).undone_at == NOW
    assert figures() == []


def test_who_applied_and_who_undid_which_file_is_in_the_audit_log(customer):
    one = applied(months(LARGE))
    applying.undo(one.pk, by="olga", now=NOW)
    work(one)
    small = brought(months(3), is_read=False)
    applying.apply(small.pk, skips_bad=False, by="ana", now=NOW)

    def line(state: str, rows: int) -> dict[str, list[str]]:
        said = {"state": state, "kind": "finance", "file": "sheet.csv", "rows": str(rows)}
        return {name: ["", value] for name, value in said.items()}

    lines = LogEntry.objects.filter(object_repr__startswith="finance").order_by("pk")
    assert [(row.additional_data["by"], row.changes) for row in lines] == [
        ("ana", line("applied", LARGE)),
        ("olga", line("undone", LARGE)),
        ("ana", line("applied", 3)),
    ]


def test_a_file_with_too_many_rows_is_refused_at_once(customer):
    file = SimpleUploadedFile("sheet.csv", b"customer,month,amount,currency\n" + b"cus_a,2026-01,1,usd\n" * 100_001)

    answer = page_of(Role.FINANCE).post("/dashboard/imports/?kind=finance", {"file": file})

    assert "It has more than 100,000 rows. Divide it into several files." in text_of(answer)
    assert not Import.objects.exists()


@pytest.mark.slow
def test_an_import_that_is_killed_outright_goes_on_where_it_stopped(installed, tmp_path: Path):
    rows = 6000
    file = tmp_path / "usage.csv"
    lines = "".join(f"cus_a,m{n},{n},2026-01-01\n" for n in range(rows))
    file.write_text(f"customer,metric,value,at\n{lines}")
    with installed(tmp_path) as made, living_in(made["DATABASE_URL"]):
        source = StripeSource.objects.create(slug="main", livemode=True, created_at=NOW)
        Customer.objects.create(source=source, stripe_id="cus_a")
        killed = start(made, "import_usage", str(file))
        wait_until(lambda: ImportChange.objects.count() >= 1000, 120)
        killed.kill()
        killed.wait()
        one = Import.objects.get()
        assert (one.work, 0 < one.done < rows) == (Work.APPLYING, True)
        assert one.done == UsageSignal.objects.count() == ImportChange.objects.count()

        manage(made, "shell", "-c", "from config import tasks; tasks.run_imports()")

        one.refresh_from_db()
        assert (one.work, one.rows, one.added, one.changed, one.already) == ("", rows, rows, 0, 0)
        assert UsageSignal.objects.count() == ImportChange.objects.count() == rows
