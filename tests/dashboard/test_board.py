"""The board pack: its figures are those of the pages and the API, and its hash can be recounted from its workbook."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from datetime import date, timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from billing.models import Customer, StripeEvent
from dashboard.roles import Role
from mrr import fx
from mrr.engine.rates import Quote
from tests.dashboard.people import api, person
from tests.dashboard.test_close import client_of, comes_late, march, signs
from tests.dashboard.test_pages import page_of, text_of
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
__all__ = ["march"]
FEBRUARY = "/dashboard/board/?month=2026-02"


@pytest.fixture
def books() -> Scenario:
    """February: a new customer in euros, one that grew, one that shrank, one that left; rates of every day."""
    made = Scenario("acme")
    grows = made.customer("Acme Rockets", on="2026-01-05", email="pay@acme-rockets.example")
    grows.subscribes("Team", monthly="30.00", on="2026-01-10")
    grows.moves_to("Business", monthly="50.00", on="2026-02-03")
    made.customer("Beta Bakery", on="2026-01-06").subscribes("Team", yearly="100.00", on="2026-01-12")
    shrinks = made.customer("=HYPERLINK(evil)", on="2026-01-07")
    shrinks.subscribes("Business", monthly="50.00", on="2026-01-13")
    shrinks.moves_to("Team", monthly="30.00", on="2026-02-10")
    gone = made.customer("Gone Fishing", on="2026-01-07")
    gone.subscribes("Team", monthly="20.00", on="2026-01-14")
    gone.cancels(on="2026-02-15")
    made.customer("Euro Trains", on="2026-02-10").subscribes("Team", monthly="40.00", on="2026-02-11", currency="eur")
    fx.pin(date(2026, 1, 1))
    days = [date(2026, 1, 1) + timedelta(days=at) for at in range(79)]
    fx.store([Quote(day, "eur", "usd", "1.10" if day.month == 1 else "1.15", "manual") for day in days])
    return made


def figures_of(answer: Any) -> list[tuple[str, str]]:
    """Return the figures of a page that open: their code and what is shown."""
    found = re.findall(r'data-explain="([^"]+)" aria-label="[^"]*">(.*?)</a>', answer.content.decode())
    return [(unescape(code), unescape(re.sub(r"<[^>]+>", "", shown))) for code, shown in found]


def sheets_of(client: Client, url: str = FEBRUARY) -> Any:
    answer = client.get(f"{url}&format=xlsx")
    assert answer.status_code == 200
    return load_workbook(io.BytesIO(answer.content))


def rows_of(page: Any, first: str) -> list[tuple[Any, ...]]:
    """Return the rows below the head of a sheet, which begins with a known title."""
    rows = list(page.iter_rows(values_only=True))
    head = next(at for at, row in enumerate(rows) if row[0] == first)
    return rows[head + 1 :]


def exact_of(book: Any) -> dict[tuple[str, str, str], Any]:
    return {(part or "", row or "", name): value for part, row, name, _, value in rows_of(book["Exact"], "Part")}


# ---- the figures ----


def test_it_is_of_the_last_month_that_ended_and_says_so(books: Scenario) -> None:
    shown = text_of(page_of(Role.ANALYST).get("/dashboard/board/"))

    assert "board pack February 2026" in shown
    assert "Not closed yet · all currencies in USD · UTC · metric policy 1" in shown
    assert "MRR balance $134 .33" in shown  # 50 + 8.33 + 30 and 40 euros at 1.15
    assert "ARR balance $1,612 .00" in shown
    assert "Net new MRR activity +$26 .00" in shown  # 20 and 46, less 20 and 20
    assert "Opening + movements + FX = closing, exactly" in shown
    assert "Every month adds up" in shown
    assert "Complete." in shown


def test_every_figure_opens_onto_what_it_is(books: Scenario) -> None:
    client = page_of(Role.ANALYST)
    found = figures_of(client.get(FEBRUARY))

    assert len(found) > 60
    for code, shown in set(found):
        panel = client.get(f"{FEBRUARY}&explain={code}", headers={"HX-Target": "explain"})
        assert panel.status_code == 200, code
        text = text_of(panel)
        assert "than shown" not in text, f"{code}: {text}"
        if "$" in shown:
            assert shown.replace(" ", "") in text.replace(" ", ""), f"{code}: {shown} in {text}"


def test_its_micros_are_those_of_the_api(books: Scenario) -> None:
    exact = exact_of(sheets_of(page_of(Role.FINANCE)))
    client = api(Role.ANALYST)
    series = client.get("/api/v1/mrr/series?from=2026-01&to=2026-02").json()
    at = client.get("/api/v1/mrr?at=2026-02-28").json()["reporting"]

    assert exact["key", "", "MRR"] == at["mrr_micros"]
    assert exact["key", "", "ARR"] == at["arr_micros"]
    for month in series["months"]:
        for part in ("opening", "new", "expansion", "reactivation", "contraction", "churn", "fx", "closing"):
            assert exact["month", month["month"], part] == month[f"{part}_micros"]
        for ratio in ("nrr", "grr", "logo_churn"):
            assert exact["month", month["month"], ratio] == (month[ratio] or "n/a")
        assert exact["month", month["month"], "customers"] == month["customers"]["closing"]
    cohorts = client.get("/api/v1/cohorts?measure=net_mrr&interval=month").json()["cohorts"]
    for cohort in cohorts:
        cells = [cell for cell in cohort["cells"] if cell["period"] <= 1 - (cohort["cohort"] == "2026-02")]
        for cell in cells:
            assert exact["cohort", cohort["cohort"], str(cell["period"])] == cell["mrr_micros"]


def test_reasons_come_to_the_months_figures_exactly(books: Scenario) -> None:
    exact = exact_of(sheets_of(page_of(Role.FINANCE)))
    added: dict[str, int] = {}
    for (part, row, name), value in exact.items():
        if part == "cause" and name == "amount":
            added[row.split()[0]] = added.get(row.split()[0], 0) + value

    assert added == {kind: exact["month", "2026-02", kind] for kind in ("new", "expansion", "contraction", "churn")}


def test_the_list_of_movements_comes_to_the_net_new_mrr(books: Scenario) -> None:
    rows = rows_of(sheets_of(page_of(Role.FINANCE))["Movements"], "Effective")

    assert [row[1] for row in rows] == [
        "Euro Trains",
        "Acme Rockets",
        "'=HYPERLINK(evil)",
        "Gone Fishing",
        "Net new MRR",
    ]
    assert sum(Decimal(str(row[6])) for row in rows[:-1]) == Decimal(str(rows[-1][6])) == Decimal("26")


def test_longer_lists_end_with_the_rest(books: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.pages.board_figures.SHOWN_MOVEMENTS", 2)
    client = page_of(Role.FINANCE)

    rows = rows_of(sheets_of(client)["Movements"], "Effective")

    assert rows[2][1] == "2 more"
    assert sum(Decimal(str(row[6])) for row in rows[:3]) == Decimal(str(rows[3][6]))
    assert "2 more movements −$40.00" in text_of(client.get(FEBRUARY))


def test_one_currency_stands_by_itself(books: Scenario) -> None:
    shown = text_of(page_of(Role.ANALYST).get(f"{FEBRUARY}&currency=eur"))

    assert "MRR balance €40 .00" in shown
    assert "Opening + movements = closing, exactly" in shown
    assert "FX impact" not in shown


def test_a_month_is_shown_as_it_stood_when_it_ended(books: Scenario) -> None:
    """What happened in March is in no figure of January, and January's last cell is no running month."""
    client = page_of(Role.FINANCE)
    exact = exact_of(sheets_of(client, "/dashboard/board/?month=2026-01"))

    assert [row for part, row, name in exact if part == "cohort" and name == "0"] == ["2026-01"]
    assert not any(part == "cohort" and name == "1" for part, _, name in exact)
    assert (
        "running month"
        not in client.get("/dashboard/board/?month=2026-01")
        .content.decode()
        .split("pack-foot")[0]
        .split("heat-h")[1]
        .split("card-f")[0]
    )


def test_months_are_cut_in_the_reporting_zone(books: Scenario, settings: Any) -> None:
    """In New York it is still February at half past four on 1 March, UTC."""
    settings.REPORTING_TIME_ZONE = "America/New_York"
    books.customer("Night Owls", on="2026-03-01T04:20").subscribes("Team", monthly="7.00", on="2026-03-01T04:30")
    books.customer("Eurostar", on="2026-03-01T04:20").subscribes(
        "Team", monthly="10.00", on="2026-03-01T04:30", currency="eur"
    )

    exact = exact_of(sheets_of(page_of(Role.FINANCE)))

    assert exact["month", "2026-02", "new"] == exact["cause", "new subscribed", "amount"]
    assert exact["month", "2026-02", "new"] == (4600 + 700 + 1150) * 1_000_000


@pytest.mark.parametrize(
    "query", ["month=2026-05", "month=2026-13", "month=0001-01", "month=x", "months=7", "format=pdf"]
)
def test_what_is_no_pack_is_refused(books: Scenario, query: str) -> None:
    assert page_of(Role.FINANCE).get(f"/dashboard/board/?{query}").status_code == 400


def test_a_month_before_the_ledger_says_that_there_is_nothing(books: Scenario) -> None:
    assert "No MRR in June 2025" in text_of(page_of(Role.ANALYST).get("/dashboard/board/?month=2025-06"))


# ---- what is signed, what is lacking ----


def test_a_closed_month_carries_its_signature_and_what_was_learned_since(books: Scenario) -> None:
    fiona = person(Role.FINANCE, "fiona")
    for month in ("2026-01", "2026-02"):
        signs(client_of(fiona), month)
    client = page_of(Role.ANALYST)
    before = text_of(client.get(FEBRUARY))
    comes_late(books)

    shown = text_of(client.get(FEBRUARY))

    from mrr import selectors

    closed = selectors.closed_month(date(2026, 2, 1))
    assert closed is not None
    assert "Closed by fiona" in shown
    for digest in (closed.entries_digest, closed.digest, closed.seal_digest):
        assert digest in shown
    assert "Closing MRR as signed $134.33" in shown
    assert "Learned since $0.00" in before
    assert "Learned since +$" in shown
    assert hash_of(before) != hash_of(shown)


def test_what_was_noted_with_the_signature_is_printed(books: Scenario) -> None:
    StripeEvent.objects.filter(pk=StripeEvent.objects.latest("pk").pk).update(state="parked", reason="bad_object")
    fiona = person(Role.FINANCE, "fiona")
    for month in ("2026-01", "2026-02"):
        signs(client_of(fiona), month)

    shown = text_of(page_of(Role.ANALYST).get(FEBRUARY))

    assert "Noted with the signature. When the month was signed, 1 event was parked." in shown
    assert "Signed, with 2 remarks" in shown  # it is parked still


def test_test_data_is_never_signed(books: Scenario) -> None:
    fiona = person(Role.FINANCE, "fiona")
    for month in ("2026-01", "2026-02"):
        signs(client_of(fiona), month)
    tried = Scenario("trial", livemode=False)
    tried.customer("Tester", on="2026-02-01").subscribes("Team", monthly="5.00", on="2026-02-02")

    shown = text_of(page_of(Role.ANALYST).get(f"{FEBRUARY}&source=trial"))

    assert "Test data. None of it is in any total of the company." in shown
    assert "February 2026 is not closed" in shown and "Learned since" not in shown.split("What the figures mean")[0]


def test_what_is_missing_is_named(books: Scenario) -> None:
    fx.store([])
    books.customer("Yen Co", on="2026-02-10").subscribes("Team", monthly="4000", on="2026-02-11", currency="jpy")

    shown = text_of(page_of(Role.ANALYST).get(FEBRUARY))

    assert "Not all is converted. JPY is left out" in shown
    assert "incomplete" in shown


def hash_of(text: str) -> str:
    found = re.search(r"SHA-256 ([0-9a-f]{64})$", text.split("Esc")[0].strip()) or re.search(
        r"policy \d+ · SHA-256 ([0-9a-f]{64})", text
    )
    assert found
    return found.group(1)


def test_its_hash_can_be_recounted_from_the_workbook_and_is_that_of_the_page(books: Scenario) -> None:
    client = page_of(Role.FINANCE)
    book = sheets_of(client)
    lines = rows_of(book["Exact"], "Part")

    text = "".join("\t".join("" if cell is None else str(cell) for cell in row) + "\n" for row in lines)

    assert hashlib.sha256(text.encode()).hexdigest() == hash_of(text_of(client.get(FEBRUARY)))
    assert f"SHA-256 {hash_of(text_of(client.get(FEBRUARY)))}" in [
        row[0] for row in book["Exact"].iter_rows(values_only=True)
    ]


def test_the_csv_and_the_api_give_the_same_hash(books: Scenario) -> None:
    client = page_of(Role.FINANCE)
    page = hash_of(text_of(client.get(FEBRUARY)))
    sent = b"".join(client.get(f"{FEBRUARY}&format=csv").streaming_content).decode()  # type: ignore[attr-defined]
    told = api(Role.ANALYST).get("/api/v1/board?month=2026-02").json()

    lines = list(csv.reader(io.StringIO(sent)))[1:]
    figures = [[one[name] for name in ("part", "row", "figure", "unit", "value")] for one in told["figures"]]

    assert told["sha256"] == page == hashed(figures) == hashed(lines)
    assert (told["complete"], told["closed"], told["running"]) == (True, False, False)
    assert api(Role.VIEWER, user=person(Role.VIEWER, "vera")).get("/api/v1/board?month=2026-05").status_code == 400


def hashed(lines: list[list[str]]) -> str:
    return hashlib.sha256("".join("\t".join(line) + "\n" for line in lines).encode()).hexdigest()


def test_the_same_figures_have_the_same_hash_whoever_looks(books: Scenario) -> None:
    hashes = {hash_of(text_of(page_of(role).get(FEBRUARY))) for role in Role}

    assert len(hashes) == 1


def test_another_figure_is_another_hash(books: Scenario) -> None:
    client = page_of(Role.ANALYST)
    before = hash_of(text_of(client.get(FEBRUARY)))

    books.customer("Late Comer", on="2026-02-20").subscribes("Team", monthly="0.01", on="2026-02-21")

    assert hash_of(text_of(client.get(FEBRUARY))) != before


# ---- the workbook ----


def test_the_workbook_holds_numbers_with_formats_frozen_heads_and_definitions(books: Scenario) -> None:
    book = sheets_of(page_of(Role.FINANCE))

    assert book.sheetnames == [
        *("Summary", "Months", "Reasons", "Movements", "Cohorts", "Retention", "Books", "Definitions", "Exact")
    ]
    assert all(page.freeze_panes for page in book)
    summary = {row[0].value: row for row in book["Summary"].iter_rows() if row[0].value}
    assert summary["MRR"][2].data_type == "n"
    assert Decimal(str(summary["MRR"][2].value)) == Decimal("134.33")
    assert summary["MRR"][2].number_format == "#,##0.00;-#,##0.00"
    assert Decimal(str(summary["CMRR, today"][2].value)) == Decimal("134.33")  # nothing moved since
    months = rows_of(book["Months"], "Month")
    assert months[-1][0].date() == date(2026, 2, 1)
    shares = [cell for row in book["Cohorts"].iter_rows() for cell in row if cell.number_format == "0.0%"]
    assert shares and all(cell.data_type == "n" for cell in shares)
    definitions = {row[0]: row[1] for row in rows_of(book["Definitions"], "What")}
    assert definitions["Churn"] == "MRR that fell to zero."
    facts = {row[0]: row[1] for row in rows_of(book["Books"], "What")}
    assert facts["Reporting time zone"] == "UTC"
    assert facts["Metric policy"] == "version 1"
    assert facts["Close"] == "open: nobody has signed it yet"


def test_charts_of_the_workbook_read_its_cells(books: Scenario) -> None:
    book = load_workbook(io.BytesIO(page_of(Role.FINANCE).get(f"{FEBRUARY}&format=xlsx").content))

    (chart,) = book["Months"]._charts
    head = next(row for row in book["Months"].iter_rows() if row[0].value == "Month")
    closing = next(cell for cell in head if cell.value == "Closing")
    (series,) = chart.series
    assert series.val.numRef.f == (
        f"'Months'!${closing.column_letter}${closing.row + 1}:${closing.column_letter}${closing.row + 2}"
    )
    assert [one.val.numRef.f.split("$")[1] for one in book["Retention"]._charts[0].series] == ["I", "J"]


def test_no_cell_of_the_workbook_is_a_formula(books: Scenario) -> None:
    book = sheets_of(page_of(Role.FINANCE))

    assert [cell.coordinate for page in book for row in page.iter_rows() for cell in row if cell.data_type == "f"] == []
    names = [row[1] for row in rows_of(book["Movements"], "Effective")]
    assert "'=HYPERLINK(evil)" in names


def test_who_may_not_export_has_no_workbook(books: Scenario) -> None:
    viewer = page_of(Role.VIEWER)

    assert viewer.get(f"{FEBRUARY}&format=xlsx").status_code == 403
    body = viewer.get(FEBRUARY).content.decode()
    assert "format=xlsx" not in body
    assert not any(name in body for name in Customer.objects.values_list("name", flat=True) if name)


def test_it_takes_twenty_queries_however_much_there_is(books: Scenario) -> None:
    client = page_of(Role.ANALYST)
    client.get(FEBRUARY)
    with CaptureQueriesContext(connection) as few:
        client.get(FEBRUARY)
    for at in range(15):
        books.customer(f"More {at}", on="2026-02-10").subscribes("Team", monthly="11.00", on="2026-02-11")

    with CaptureQueriesContext(connection) as many:
        client.get(f"{FEBRUARY}&months=24")

    assert len(many) == len(few) <= 20
