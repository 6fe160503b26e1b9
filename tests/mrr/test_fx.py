"""The reporting currency: converted months and totals, FX impact, constant currency, frozen rates."""

import json
import threading
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from io import StringIO
from itertools import pairwise

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrr import ecb, fx, selectors
from mrr.engine.money import MICROS
from mrr.engine.rates import Origin, Quote
from mrr.models import ConvertedRollup, FrozenRates, MixedRollup, Rate
from mrr.selectors import Basis, Measure, View
from tests.mrr.books import Books, moment
from tests.mrr.histories import Subscription, item, state
from tests.scenario import Scenario

pytestmark = pytest.mark.django_db
TODAY = date(2026, 6, 15)
PINNED = date(2026, 1, 1)


@pytest.fixture(autouse=True)
def _the_fiscal_year():
    fx.pin(PINNED)


@pytest.fixture
def books():
    return Books()


def rates(*rows, currency="eur", origin=Origin.MANUAL):
    """Keep rates told as `("2026-01-15", "1.10")`."""
    return fx.store([Quote(date.fromisoformat(day), currency, "usd", rate, origin) for day, rate in rows])


def months(first, last, **scope):
    return selectors.series(date.fromisoformat(first), date.fromisoformat(last), today=TODAY, **scope).months


def pays(books, name, *steps, currency="eur"):
    """A customer with one subscription: `("2026-01-15", 10000)` minor units a month from a day, 0 ends it."""
    told = Subscription(f"sub_{name}")
    for day, minor in steps:
        if minor:
            told.says(day, state(item(minor, currency=currency), since=steps[0][0], currency=currency))
        else:
            told.ends(day)
    return books.customer(f"cus_{name}", told)


def adds_up(row):
    parts = ("new", "expansion", "reactivation", "contraction", "churn", "adjustment", "fx")
    for unit in ("micros", "minor"):
        moved = sum(getattr(row, f"{part}_{unit}") for part in parts)
        assert getattr(row, f"opening_{unit}") + moved == getattr(row, f"closing_{unit}")


V30 = [
    ("2026-01-01", "1.09"),
    ("2026-01-15", "1.10"),
    ("2026-01-31", "1.12"),
    ("2026-02-10", "1.08"),
    ("2026-02-28", "1.05"),
]


# ---- vectors, through the signed webhook ----


def test_v30_fx_impact_is_its_own_row():
    rates(*V30)
    scenario = Scenario()
    acme = scenario.customer("Acme", on="2026-01-10")
    acme.subscribes("team", monthly="100", currency="eur", on="2026-01-15")
    acme.moves_to("business", monthly="150", on="2026-02-10")

    january, february = months("2026-01-01", "2026-02-01")

    assert (january.opening_minor, january.new_minor, january.fx_minor, january.closing_minor) == (0, 11000, 200, 11200)
    assert (february.opening_minor, february.expansion_minor) == (11200, 5400)
    assert (february.fx_minor, february.closing_minor) == (-850, 15750)
    assert not january.held
    assert not february.held
    native = months("2026-01-01", "2026-02-01", currency="eur")
    assert [(row.fx_micros, row.closing_minor) for row in native] == [(0, 10000), (0, 15000)]


def test_v31_yen_have_no_minor_unit():
    rates(("2026-06-15", "0.0067"), currency="jpy")
    scenario = Scenario()
    scenario.customer("Acme").subscribes("team", monthly="12000", currency="jpy", on="2026-06-15")

    found = selectors.mrr_at(TODAY, today=TODAY)

    assert (found.reporting.currency, found.reporting.mrr_minor, found.reporting.arr_minor) == ("usd", 8040, 96480)
    assert found.is_complete


def test_v40_without_a_rate_the_entry_is_posted_and_the_total_incomplete():
    scenario = Scenario()
    acme, bolt = scenario.customer("Acme"), scenario.customer("Bolt")
    acme.subscribes("team", monthly="100", currency="eur", on="2026-01-15")
    bolt.subscribes("team", monthly="30", on="2026-01-20")

    found = selectors.mrr_at(TODAY, today=TODAY)
    (january,) = months("2026-01-01", "2026-01-01")

    assert scenario.ledger(acme) == ["2026-01-15 new          +100.00"]
    assert (found.reporting.mrr_minor, found.reporting.held) == (3000, ("eur",))
    assert [(gap.code, gap.count) for gap in found.gaps] == [("rate_missing", 1)]
    assert (january.new_minor, january.closing_minor, january.held) == (3000, 3000, ("eur",))

    rates(("2026-01-01", "1.00"), ("2026-01-15", "1.10"), ("2026-01-31", "1.12"), ("2026-06-14", "1.20"))
    (january,) = months("2026-01-01", "2026-01-01")

    assert selectors.mrr_at(TODAY, today=TODAY).reporting.mrr_minor == 15000
    assert selectors.mrr_at(TODAY, today=TODAY).is_complete
    assert (january.new_minor, january.fx_minor, january.closing_minor, january.held) == (14000, 200, 14200, ())


# ---- converted months ----


def test_a_rate_that_is_corrected_converts_its_days_anew(books):
    rates(*V30)
    pays(books, "a", ("2026-01-15", 10000), ("2026-02-10", 15000))

    done = rates(("2026-01-15", "1.20"))

    january, february = months("2026-01-01", "2026-02-01")
    assert (done.added, done.changed, done.months) == (0, 1, 1)
    assert (january.new_minor, january.fx_minor, january.closing_minor) == (12000, -800, 11200)
    assert (february.expansion_minor, february.closing_minor) == (5400, 15750)
    assert list(fx.differences()) == []


def test_what_is_taken_back_leaves_nothing_converted(books):
    rates(*V30)
    customer = pays(books, "a", ("2026-01-15", 10000))

    books.says(customer)

    (january,) = months("2026-01-01", "2026-01-01")
    assert (january.new_micros, january.fx_micros, january.closing_micros) == (0, 0, 0)
    assert not any(ConvertedRollup.objects.values_list("new_micros", flat=True))
    assert list(fx.differences()) == []


def test_a_currency_given_up_is_held_from_the_eighth_day_on(books):
    rates(("2026-01-01", "0.13"), ("2026-01-15", "0.13"), ("2026-01-28", "0.13"), currency="hrk")
    pays(books, "a", ("2026-01-15", 10000), currency="hrk")

    january, february = months("2026-01-01", "2026-02-01")

    assert (january.closing_minor, january.held) == (1300, ())
    assert (february.closing_minor, february.held) == (0, ("hrk",))
    adds_up(february)


def test_the_running_month_closes_at_todays_rate(books):
    rates(("2026-01-01", "1.00"), ("2026-06-02", "1.10"), ("2026-06-15", "1.20"), ("2026-06-20", "9"))
    pays(books, "a", ("2026-06-02", 10000))

    (june,) = months("2026-06-01", "2026-06-01")

    assert (june.new_minor, june.fx_minor, june.closing_minor) == (11000, 1000, 12000)


def test_opening_mrr_is_converted_at_its_own_day(books):
    books.source("old", history_from=date(2026, 2, 1))
    rates(("2026-01-01", "1.00"), ("2026-02-01", "1.10"), ("2026-02-27", "1.20"))
    told = Subscription("sub_a").says(
        "2026-02-03", state(item(10000, currency="eur"), since="2024-05-10", currency="eur")
    )
    books.customer("cus_a", told, source="old")

    (february,) = months("2026-02-01", "2026-02-01")

    assert (february.opening_minor, february.fx_minor, february.closing_minor) == (11000, 1000, 12000)


def test_with_the_reporting_currency_alone_nothing_is_converted(books):
    with CaptureQueriesContext(connection) as queries:
        pays(books, "a", ("2026-01-15", 10000), currency="usd")
    said = " ".join(query["sql"] for query in queries)

    assert "mrr_ratebook" not in said
    assert months("2026-01-01", "2026-02-01") == months("2026-01-01", "2026-02-01", currency="usd")


def test_as_closed_a_late_entry_is_adjusted_at_its_own_days_rate(books, monkeypatch):
    rates(("2026-01-01", "1.00"), ("2026-01-15", "1.10"), ("2026-01-31", "1.10"), ("2026-02-27", "1.20"))
    from mrr import books as booking

    enter = booking.enter

    def enter_late(entries):
        enter(entries)
        for made in entries:
            made.backdated_from, made.book_month = made.effective_at.date(), date(2026, 2, 1)

    monkeypatch.setattr(booking, "enter", enter_late)
    pays(books, "a", ("2026-01-15", 10000))

    january, february = months("2026-01-01", "2026-02-01", basis=Basis.CLOSED)

    assert (january.new_minor, january.closing_minor) == (0, 0)
    assert (february.adjustment_minor, february.fx_minor, february.closing_minor) == (11000, 1000, 12000)


# ---- one customer in several currencies ----


@pytest.fixture
def changer(books):
    """Pays euros in January, dollars instead from March on."""
    rates(*((f"2026-{month:02}-{day:02}", "2.00") for month in range(1, 7) for day in (1, 8, 15, 22, 28)))
    books.mixed = books.customer(
        "cus_mixed",
        Subscription("sub_1")
        .says("2026-01-15", state(item(10000, currency="eur"), since="2026-01-15", currency="eur"))
        .ends("2026-03-05"),
        Subscription("sub_2").says("2026-03-05", state(item(15000), since="2026-03-05")),
    )
    pays(books, "single", ("2026-01-20", 5000), currency="usd")
    return books


def test_a_customer_who_changes_currency_is_one_customer(changer):
    (march,) = months("2026-03-01", "2026-03-01")

    assert (march.customers.opening, march.customers.new, march.customers.churned) == (2, 0, 0)
    assert march.customers.closing == 2
    assert march.logo_churn == 0
    assert march.nrr == march.grr == Fraction(15000 + 5000, 20000 + 5000)
    euros, dollars = (months("2026-03-01", "2026-03-01", currency=code)[0] for code in ("eur", "usd"))
    assert (euros.customers.churned, dollars.customers.new) == (1, 1)
    assert list(fx.differences()) == []


def test_a_customer_who_changes_currency_is_netted_as_a_whole(changer):
    (march,) = months("2026-03-01", "2026-03-01", view=View.NETTED)

    assert (march.contraction_minor, march.churn_minor, march.new_minor) == (-5000, 0, 0)
    adds_up(march)


def test_a_customer_who_changes_currency_stays_in_its_cohort(changer):
    found = selectors.cohorts(Measure.NET_MRR, today=TODAY)

    (january,) = found.cohorts
    assert (january.customers, january.acquired_micros) == (2, 25000 * MICROS)
    assert [cell.ratio for cell in january.cells] == [1, 1, *[Fraction(20000, 25000)] * 4]
    logos = selectors.cohorts(Measure.LOGO, today=TODAY).cohorts[0]
    assert [cell.customers for cell in logos.cells] == [2] * 6


def test_what_a_changer_was_is_taken_out_when_it_no_longer_stands(changer):
    changer.says(changer.mixed)

    assert not any(any(row) for row in MixedRollup.objects.values_list("new_customers", "netted_new_micros"))
    assert list(fx.differences()) == []


# ---- constant currency ----


def test_ratios_do_not_see_the_rates_move(books):
    rates(("2026-01-01", "1.00"), ("2026-01-20", "1.00"), ("2026-02-10", "1.50"), ("2026-02-28", "2.00"))
    pays(books, "a", ("2026-01-20", 10000), ("2026-02-10", 8000))

    (february,) = months("2026-02-01", "2026-02-01")

    assert february.nrr == february.grr == Fraction(8, 10)
    assert (february.contraction_minor, february.quick_ratio) == (-3000, 0)


def test_without_a_rate_of_the_pinned_day_ratios_are_not_known(books):
    rates(("2026-02-10", "1.50"), ("2026-02-28", "2.00"))
    pays(books, "a", ("2026-02-10", 8000))

    (february,) = months("2026-02-01", "2026-02-01")
    (netted,) = months("2026-02-01", "2026-02-01", view=View.NETTED)

    assert (february.nrr, february.quick_ratio, february.closing_minor, february.held) == (None, None, 16000, ())
    assert netted.held == ("eur",)
    assert selectors.cohorts(Measure.NET_MRR, today=TODAY).held == ("eur",)


def test_a_new_fiscal_year_pins_another_day(changer, settings):
    settings.FISCAL_YEAR_START = "04-01"
    rates(("2026-04-01", "3.00"))

    assert fx.keep_up(TODAY)

    (march,) = months("2026-03-01", "2026-03-01")
    assert march.nrr == Fraction(15000 + 5000, 30000 + 5000)
    assert not fx.keep_up(TODAY)
    assert list(fx.differences()) == []


def test_another_reporting_currency_converts_everything_anew(changer, settings):
    settings.REPORTING_CURRENCY = "eur"

    fx.keep_up(TODAY)
    fx.store(
        [
            Quote(date(2026, month, day), "usd", "eur", "0.5", Origin.MANUAL)
            for month in range(1, 7)
            for day in (1, 8, 15, 22, 28)
        ]
    )

    found = selectors.mrr_at(TODAY, today=TODAY)
    assert (found.reporting.currency, found.reporting.mrr_minor) == ("eur", 10000)
    january = months("2026-01-01", "2026-01-01")[0]
    assert (january.new_minor, january.closing_minor) == (12500, 12500)
    assert list(fx.differences()) == []


# ---- closed months ----


def test_what_is_imported_after_a_close_does_not_move_the_month(books):
    rates(*V30)
    pays(books, "a", ("2026-01-15", 10000), ("2026-02-10", 15000))

    frozen = fx.freeze(date(2026, 1, 1), now=moment("2026-02-03"))
    done = rates(("2026-01-15", "5"), ("2026-01-20", "6"), ("2026-01-31", "7"), ("2026-02-10", "2"))

    january, february = months("2026-01-01", "2026-02-01")
    assert (january.new_minor, january.fx_minor, january.closing_minor) == (11000, 200, 11200)
    assert (february.opening_minor, february.expansion_minor, done.months) == (11200, 10000, 1)
    assert frozen["eur"][-1] == ["2026-01-31", "28/25"]
    assert list(fx.differences()) == []


def test_a_late_entry_of_a_closed_month_takes_the_frozen_rate(books):
    rates(*V30)
    pays(books, "a", ("2026-01-15", 10000))
    fx.freeze(date(2026, 1, 1), now=moment("2026-02-03"))
    rates(("2026-01-15", "5"))

    pays(books, "b", ("2026-01-15", 10000))

    assert months("2026-01-01", "2026-01-01")[0].new_minor == 22000


def test_a_month_that_is_reopened_follows_the_rates_again(books):
    rates(*V30)
    pays(books, "a", ("2026-01-15", 10000))
    fx.freeze(date(2026, 1, 1), now=moment("2026-02-03"))
    rates(("2026-01-15", "5"))

    fx.thaw(date(2026, 1, 1))

    assert months("2026-01-01", "2026-01-01")[0].new_minor == 50000
    assert not FrozenRates.objects.exists()
    assert list(fx.differences()) == []


# ---- findings ----


def findings():
    from config import doctor

    return [(one.is_well, one.seen) for one in doctor.exchange_rates(datetime(2026, 6, 15, 12, tzinfo=UTC))]


def test_doctor_names_the_currencies_that_lack_a_rate(books):
    assert findings() == [(True, "None is needed: all MRR is in the reporting currency.")]

    pays(books, "a", ("2026-01-15", 10000))
    rates(("2026-06-01", "1.10"))
    lacking = findings()
    rates(("2026-01-01", "1.10"), ("2026-06-10", "1.10"))

    assert lacking == [
        (False, "No rate of the last seven days for EUR."),
        (False, "No rate of 2026-01-01 for EUR: ratios and cohorts of all currencies are not known."),
    ]
    assert findings() == [(True, "Every currency has a rate.")]


# ---- what holds whatever happens ----

LEVELS = st.lists(st.tuples(st.integers(1, 150), st.integers(0, 5).map(lambda n: n * 1237)), min_size=1, max_size=4)
CUSTOMERS = st.lists(st.tuples(st.sampled_from(["eur", "usd", "jpy", "kwd"]), LEVELS), min_size=1, max_size=4)
QUOTES = st.lists(
    st.tuples(st.sampled_from(["eur", "jpy", "kwd"]), st.integers(0, 165), st.integers(1, 10**6)), max_size=25
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(CUSTOMERS, QUOTES, QUOTES)
def test_whatever_the_rates_and_histories_the_months_add_up(customers, known, learned):
    def quotes(found):
        return [
            Quote(date(2026, 1, 1) + timedelta(days=at), code, "usd", f"{rate // 1000}.{rate % 1000:03}1", "manual")
            for code, at, rate in found
        ]

    with transaction.atomic():
        books = Books()
        fx.store(quotes(known))
        for number, (currency, levels) in enumerate(customers):
            told = Subscription(f"sub_{number}")
            for at, minor in sorted(dict(levels).items()):
                day = (date(2026, 1, 1) + timedelta(days=at)).isoformat()
                told.says(day, state(item(minor, currency=currency), since=day, currency=currency))
            other = Subscription(f"sub_{number}b").says("2026-03-09", state(item(700), since="2026-03-09"))
            books.customer(f"cus_{number}", *([told, other] if number % 2 else [told]))
        fx.store(quotes(learned))

        for view in View:
            rows = months("2026-01-01", "2026-06-01", view=view)
            for row in rows:
                adds_up(row)
            for earlier, later in pairwise(rows):
                assert earlier.closing_micros == later.opening_micros
                assert earlier.customers.closing == later.customers.opening
        total = selectors.mrr_at(TODAY, today=TODAY).reporting
        assert total.mrr_micros == rows[-1].closing_micros
        assert list(fx.differences()) == []
        transaction.set_rollback(True)


# ---- import_rates ----


def command(*words, stdin=""):
    """Run import_rates; returns its result, what it said and its exit code."""
    out, err, code = StringIO(), StringIO(), 0
    try:
        call_command("import_rates", *words, stdout=out, stderr=err)
    except SystemExit as end:
        code = end.code
    except CommandError as error:
        return {}, str(error), error.returncode
    return json.loads(out.getvalue().splitlines()[-1]), err.getvalue(), code


def test_import_rates_reads_a_file(tmp_path):
    file = tmp_path / "rates.csv"
    file.write_text("\ufeffday,currency,rate\n2026-01-15,EUR,1.10\n\n2026-01-16,jpy,0.0067\n", encoding="utf-8")

    result, said, code = command(str(file))

    assert (code, said) == (0, "")
    assert {name: result[name] for name in ("read", "added", "changed", "already", "bad")} == {
        "read": 2,
        "added": 2,
        "changed": 0,
        "already": 0,
        "bad": 0,
    }
    assert sorted(Rate.objects.values_list("currency", "against", "rate", "origin")) == [
        ("eur", "usd", "1.10", "manual"),
        ("jpy", "usd", "0.0067", "manual"),
    ]
    assert command(str(file))[0]["already"] == 2


BAD = """day,currency,rate
2026-01-15,eur,1.10
2026-02-30,eur,1.10
2026-01-16,euro,1.10
2026-01-17,eur,1,10
2026-01-18,eur,-1
2026-01-19,eur,1e3
2026-01-20,eur,0.00
2026-01-21,usd,1
2099-01-21,eur,1
2026-01-15,eur,1.11
"""


def test_bad_rows_are_named_and_nothing_is_applied(tmp_path):
    file = tmp_path / "rates.csv"
    file.write_text(BAD)

    result, said, code = command(str(file))

    assert (code, result["bad"], result["added"], Rate.objects.count()) == (1, 9, 0, 0)
    assert [line.split(":")[0] for line in said.splitlines()[:9]] == [f"Line {number}" for number in range(3, 12)]
    assert "'2026-02-30' is not written as YYYY-MM-DD" in said
    assert "Line 11: Line 2 has another rate for the same day and currency." in said


def test_bad_rows_can_be_left_out(tmp_path):
    file = tmp_path / "rates.csv"
    file.write_text(BAD)

    result, _, code = command(str(file), "--skip-bad")

    assert (code, result["bad"], result["added"], Rate.objects.get().rate) == (1, 9, 1, "1.10")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give a file, or --ecb."),
        (["a.csv", "--ecb"], "Give a file, or --ecb."),
        (["missing.csv"], "missing.csv cannot be read"),
        (["a.csv", "--online"], "go with --ecb"),
    ],
)
def test_wrong_use_says_so(words, said):
    _, words_back, code = command(*words)

    assert said in words_back
    assert code == 2


def test_a_file_without_the_columns_is_wrong_use(tmp_path):
    file = tmp_path / "rates.csv"
    file.write_text("date;currency;rate\n")

    assert command(str(file))[2] == 2


def test_the_central_banks_table_ships_with_the_product():
    result, _, code = command("--ecb", "--since", "2026-10-01")

    assert (code, result["bad"]) == (0, 0)
    assert Rate.objects.get(day="2026-10-30", against="usd").rate == "1.1172"
    known = fx.conversion(["gbp"])
    assert known.rates.on("gbp", date(2026, 10, 31)) == Fraction("1.1172") / Fraction("0.8338")
    assert known.rates.on("gbp", date(2026, 11, 7)) is None


def test_the_banks_table_of_today_is_fetched_when_asked_for(httpserver_of_bank):
    quotes = list(ecb.online(since=date(2026, 11, 1), url=httpserver_of_bank))

    assert quotes == [Quote(date(2026, 11, 20), "eur", "usd", "1.1203", "ecb")]


def test_a_bank_out_of_reach_is_told_plainly():
    with pytest.raises(ecb.Unreachable, match="cannot be read"):
        list(ecb.online(since=date(2026, 11, 1), url="http://127.0.0.1:9/rates.zip"))
    with pytest.raises(ecb.Unreachable, match="not the bank's"):
        list(ecb.read(b"<html>", since=date(2026, 11, 1)))


@pytest.fixture
def httpserver_of_bank():
    import io
    import zipfile
    from http.server import BaseHTTPRequestHandler, HTTPServer

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("eurofxref-hist.csv", "Date,USD,JPY,\n2026-11-20,1.1203,N/A,\n2026-10-30,1.1172,175.68,\n")

    class Bank(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(packed.getvalue())

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Bank)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/rates.zip"
    server.shutdown()
    server.server_close()
