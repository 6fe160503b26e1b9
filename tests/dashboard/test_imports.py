"""Imports: looked at before they are applied, applied whole or not at all, undone unless later work builds on them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from billing.models import Customer, StripeSource
from crm import matching
from crm.models import Account, FinanceMrr, Match, SalesforceOrg, UsageSignal
from dashboard.imports import applying, form, working
from dashboard.imports.finance import FINANCE
from dashboard.imports.rates import RATES
from dashboard.models import Import
from dashboard.roles import Role
from mrr import fx
from mrr.models import Rate
from tests.dashboard.test_pages import page_of, text_of

URL = "/dashboard/imports/"
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
ACCOUNT = "001000000000001AAA"
OTHER = "001000000000002AAA"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def march() -> Any:
    with time_machine.travel(NOW, tick=True):
        yield


@pytest.fixture
def customers() -> list[Customer]:
    """Three customers of one source; the last one's id is known to a second source too."""
    main, second = (
        StripeSource.objects.create(slug=slug, livemode=True, created_at=NOW) for slug in ("main", "second")
    )
    made = [Customer.objects.create(source=main, stripe_id=f"cus_{name}") for name in ("a", "b", "c")]
    Customer.objects.create(source=second, stripe_id="cus_c")
    return made


@pytest.fixture
def org() -> SalesforceOrg:
    made = SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com", is_demo=True)
    for salesforce_id in (ACCOUNT, OTHER):
        Account.objects.create(org=made, salesforce_id=salesforce_id, name="Acme")
    return made


def bring(client: Client, kind: str, text: str) -> Any:
    return client.post(f"{URL}?kind={kind}", {"file": SimpleUploadedFile("sheet.csv", text.encode())}, follow=True)


def press(client: Client, act: str, **fields: str) -> str:
    """Press a button of the newest import; returns what the page says then."""
    pk = Import.objects.latest("pk").pk
    return text_of(client.post(f"{URL}{pk}/{act}/", fields, follow=True))


FIGURES = "customer,month,amount,currency\ncus_a,2026-01,1250.00,usd\ncus_b,2026-01,0,usd\n"


def figures() -> list[tuple[str, date, int]]:
    return list(
        FinanceMrr.objects.order_by("customer", "month").values_list("customer__stripe_id", "month", "amount_minor")
    )


def test_a_file_is_shown_before_anything_is_changed(customers):
    finance = page_of(Role.FINANCE)

    shown = text_of(bring(finance, "finance", FIGURES))

    assert "What it would do" in shown
    assert "Apply 2 rows" in shown
    assert figures() == []


def test_applying_keeps_the_rows_and_drops_the_file(customers):
    finance = page_of(Role.FINANCE)
    bring(finance, "finance", FIGURES)

    said = press(finance, "apply")

    assert "Applied: 2 added, 0 changed, 0 as they were." in said
    assert figures() == [("cus_a", date(2026, 1, 1), 125000), ("cus_b", date(2026, 1, 1), 0)]
    one = Import.objects.get()
    assert (one.applied_by, one.body, one.faults) == ("finance-person", None, [])
    assert "was applied or thrown away already" in press(finance, "apply")


def test_a_bad_row_is_named_by_line_column_reason_and_cure(customers):
    bad = "cus_a,2026-13,1,usd\ncus_x,2026-01,1,usd\ncus_c,2026-01,1,usd\ncus_a,2026-01,1.234,usd\ncus_b,2026-01,7\n"

    shown = text_of(bring(page_of(Role.FINANCE), "finance", FIGURES + bad))

    assert "4 month The month '2026-13' is not written as YYYY-MM." in shown
    assert "5 customer There is no customer 'cus_x'. Take the id from the customer's page." in shown
    assert "6 customer Several sources know cus_c: main, second. Add a column source that says which." in shown
    assert "7 amount The amount 1.234 has more decimals than usd has (2). Round it." in shown
    assert "8 It has 3 columns instead of 4." in shown


def test_one_bad_row_holds_all_back_unless_the_bad_ones_are_skipped(customers):
    finance = page_of(Role.FINANCE)
    bring(finance, "finance", FIGURES + "cus_x,2026-01,1,usd\n")

    assert "1 bad row: mend the file, or leave them out." in press(finance, "apply")
    assert figures() == []
    assert "Applied: 2 added" in press(finance, "apply", skip_bad="1")
    assert len(figures()) == 2


def test_an_undo_puts_back_what_was_added_and_what_was_changed(customers):
    finance = page_of(Role.FINANCE)
    bring(finance, "finance", FIGURES)
    press(finance, "apply")
    bring(finance, "finance", "customer,month,amount,currency\ncus_a,2026-01,9,usd\ncus_a,2026-02,9,usd\n")
    assert "Applied: 1 added, 1 changed, 0 as they were." in press(finance, "apply")

    assert "Undone" in press(finance, "undo")

    assert figures() == [("cus_a", date(2026, 1, 1), 125000), ("cus_b", date(2026, 1, 1), 0)]
    assert "was undone already" in press(finance, "undo")


def test_an_import_that_a_later_one_speaks_of_too_is_undone_after_it(customers):
    finance = page_of(Role.FINANCE)
    for _ in range(2):
        bring(finance, "finance", FIGURES)
        press(finance, "apply")
    first, second = Import.objects.order_by("pk")

    with pytest.raises(working.NotDone, match=f"Import {second.pk} came later"):
        applying.undo(first.pk, by="ana", now=NOW)
    applying.undo(second.pk, by="ana", now=NOW)
    assert len(figures()) == 2
    applying.undo(first.pk, by="ana", now=NOW)
    assert figures() == []


def test_rates_of_a_month_that_was_closed_with_them_stay():
    one = applying.bring(RATES, "r.csv", b"day,currency,rate\n2026-01-30,eur,1.1\n", by="ana", now=NOW)
    applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)
    fx.freeze(date(2026, 2, 1), now=datetime(2026, 3, 21, tzinfo=UTC))  # a rate reaches seven days on

    with pytest.raises(working.NotDone, match="February 2026 was closed with these rates"):
        applying.undo(one.pk, by="ana", now=NOW)

    fx.thaw(date(2026, 2, 1))
    applying.undo(one.pk, by="ana", now=NOW)
    assert not Rate.objects.exists()


def test_a_rate_that_was_changed_goes_back_to_what_it_was():
    for rate in (b"1.1", b"1.2"):
        one = applying.bring(RATES, "r.csv", b"day,currency,rate\n2026-01-30,eur," + rate, by="ana", now=NOW)
        applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)

    applying.undo(one.pk, by="ana", now=NOW)

    assert Rate.objects.get().rate == "1.1"


def test_matches_are_made_by_the_rules_of_the_unmatched_page(customers, org):
    a, b, _ = customers
    matching.match(b.pk, OTHER, by="olga", now=NOW)
    revops = page_of(Role.REVOPS)

    shown = text_of(
        bring(revops, "matches", f"customer,account_id\ncus_a,{ACCOUNT[:15]}\ncus_b,{ACCOUNT}\ncus_a,001x\n")
    )

    assert f"3 customer It was matched to {OTHER} by olga at 2026-03-20 12:00 UTC. Undo that match first" in shown
    assert "4 account_id '001x' is not the id of an Account." in shown
    press(revops, "apply", skip_bad="1")
    made = Match.objects.get(customer=a)
    assert (made.account.salesforce_id, made.how, made.matched_by) == (ACCOUNT, "person", "revops-person")


def test_undoing_an_import_of_matches_undoes_the_matches(customers, org):
    revops = page_of(Role.REVOPS)
    bring(revops, "matches", f"customer,account_id\ncus_a,{ACCOUNT}\ncus_b,{OTHER}\n")
    press(revops, "apply")

    press(revops, "undo")

    assert list(Match.objects.values_list("undone_by", flat=True)) == ["revops-person", "revops-person"]


def test_a_match_that_somebody_changed_since_is_not_undone_behind_their_back(customers, org):
    revops = page_of(Role.REVOPS)
    bring(revops, "matches", f"customer,account_id\ncus_a,{ACCOUNT}\n")
    press(revops, "apply")
    matching.unmatch(Match.objects.get().pk, by="olga", now=NOW)
    matching.match(customers[0].pk, OTHER, by="olga", now=NOW)

    assert "Not undone. The account_id of a row was changed by somebody since" in press(revops, "undo")


def test_usage_comes_in_by_command(customers, tmp_path):
    file = tmp_path / "usage.csv"
    file.write_text(
        "customer,metric,value,at,source\ncus_a,seats,41.5,2026-03-01,\ncus_c,seats,2,2026-03-01T02:00:00+02:00,second\n"
    )
    out = StringIO()

    call_command("import_usage", str(file), stdout=out)

    result = json.loads(out.getvalue())
    assert (result["read"], result["added"], result["bad"]) == (2, 2, 0)
    assert list(UsageSignal.objects.order_by("pk").values_list("customer__source__slug", "value_micros", "at")) == [
        ("main", 41_500_000, datetime(2026, 3, 1, tzinfo=UTC)),
        ("second", 2_000_000, datetime(2026, 3, 1, tzinfo=UTC)),
    ]
    assert Import.objects.get().applied_by == "command line"


def test_a_bad_row_of_usage_ends_the_command_with_1_and_keeps_nothing(customers, tmp_path):
    file = tmp_path / "usage.csv"
    file.write_text("customer,metric,value,at\ncus_a,seats,1,2026-03-01\ncus_a,seats,1e3,2026-03-02T10:00:00\n")
    err = StringIO()

    with pytest.raises(SystemExit) as end:
        call_command("import_usage", str(file), stdout=StringIO(), stderr=err)

    assert end.value.code == 1
    assert "Line 3: The value '1e3' is not a plain number" in err.getvalue()
    assert not UsageSignal.objects.exists()
    assert not Import.objects.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b"customer;month\n",
            "The first line must name the columns customer,month,amount,currency and may name source",
        ),
        (b"\xff\xfe", "It is not text in UTF-8."),
        (b"customer,month,amount,currency\n\0", "This is not a CSV file"),
        (b"", "The first line must name the columns"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_beside_the_field(body, said):
    answer = page_of(Role.FINANCE).post(f"{URL}?kind=finance", {"file": SimpleUploadedFile("x.csv", body + b" ")})

    assert answer.status_code == 422
    assert said in text_of(answer)
    assert not Import.objects.exists()


def test_each_kind_is_open_to_the_role_that_decides_it(customers):
    finance, revops = page_of(Role.FINANCE), page_of(Role.REVOPS)

    assert [finance.get(f"{URL}?kind={kind}").status_code for kind in ("finance", "rates", "usage", "matches")] == [
        200,
        200,
        403,
        403,
    ]
    bring(finance, "finance", FIGURES)
    pk = Import.objects.get().pk
    assert revops.get(f"{URL}{pk}/").status_code == 403
    assert revops.post(f"{URL}{pk}/apply/").status_code == 403
    assert "sheet.csv" in text_of(revops.get(URL))


@pytest.mark.parametrize("key", ["finance", "rates", "usage", "matches"])
def test_the_sample_file_has_the_columns_of_its_kind(key):
    client = page_of(Role.FINANCE if key in ("finance", "rates") else Role.REVOPS)

    sample = client.get(f"{URL}samples/{key}.csv")

    assert sample["Content-Disposition"] == f'attachment; filename="{key}-sample.csv"'
    assert "first line" not in text_of(bring(client, key, sample.content.decode()))


def test_a_file_that_nobody_applied_is_gone_after_a_day(customers):
    applying.bring(FINANCE, "old.csv", FIGURES.encode(), by="ana", now=datetime(2026, 3, 19, 11, 0, tzinfo=UTC))

    applying.bring(FINANCE, "new.csv", FIGURES.encode(), by="ana", now=NOW)

    assert Import.objects.get().file_name == "new.csv"


def test_rows_are_looked_up_and_kept_many_at_once(customers):
    def queries(rows: int) -> tuple[int, int]:
        lines = "".join(f"cus_a,{2010 + n // 12}-{n % 12 + 1:02},{n + rows},usd\n" for n in range(rows))
        body = f"customer,month,amount,currency\n{lines}".encode()
        with CaptureQueriesContext(connection) as looking:
            one = applying.bring(FINANCE, "x.csv", body, by="ana", now=NOW)
        with CaptureQueriesContext(connection) as keeping:
            done = applying.apply(one.pk, skips_bad=False, by="ana", now=NOW)
        assert done.changes.count() == rows
        return len(looking), len(keeping)

    queries(1)

    assert queries(120) == queries(12)


def test_the_pages_cost_the_same_however_many_imports_there_are(customers):
    finance = page_of(Role.FINANCE)
    bring(finance, "finance", FIGURES)
    finance.get(URL)
    with CaptureQueriesContext(connection) as once:
        finance.get(URL)
    for _ in range(3):
        bring(finance, "finance", FIGURES)
    with CaptureQueriesContext(connection) as often:
        finance.get(URL)

    assert len(often) == len(once)


ROWS = st.lists(st.tuples(st.sampled_from(["eur", "gbp"]), st.integers(1, 28), st.integers(1, 9)), max_size=12)


@given(ROWS)
def test_every_row_is_good_bad_or_a_repetition_and_no_place_has_two_values(rows):
    text = "day,currency,rate\n" + "".join(f"2026-01-{day:02},{code},{rate}\n" for code, day, rate in rows)

    found = list(form.read(RATES, text.encode(), today=date(2026, 3, 20)))

    good = [one for one in found if isinstance(one, form.Good)]
    first = {}
    for code, day, rate in rows:
        first.setdefault(f"2026-01-{day:02} {code}", str(rate))
    assert {one.place: one.value for one in good} == first
    assert len(good) == len(first)
    assert sum(isinstance(one, form.Bad) for one in found) == sum(
        first[f"2026-01-{day:02} {code}"] != str(rate) for code, day, rate in rows
    )
