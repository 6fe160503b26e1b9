"""Retention of periods from one customer's entries, against a plain comparison of balances."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from mrr import metrics, retention
from mrr.retention import Kept
from mrr.rollups import Standing

JAN = 2026 * 12
MONTH = 2_678_400


def entry(month: int, micros: int, *, kind: str = "", reason: str = "", currency: str = "usd", product: str = ""):
    """Make a standing entry of the middle of a month, counted from January 2026."""
    kind = kind or ("expansion" if micros > 0 else "contraction")
    return Standing(kind, currency, micros, 0, month * MONTH, JAN + month, reason, product)


def test_v41_retention_of_a_period_leaves_new_and_returned_customers_out():
    """Vector V41: start A100 B200 C300; end A150 B100 C0; D new 80; E reactivated 50."""
    starts, ends = {"A": 100, "B": 200, "C": 300}, {"A": 150, "B": 100, "C": 0, "D": 80, "E": 50}
    histories = [
        [entry(0, starts[name], kind="new"), entry(2, ends[name] - starts[name])]
        if name in starts
        else [entry(2, ends[name], kind="new")]
        for name in ends
    ]

    kept = _kept(histories, span=3, last=2)

    assert (metrics.decimal_text(kept.nrr), metrics.decimal_text(kept.grr)) == (None, None)  # nobody paid before

    kept = _kept(histories, span=3, last=3)

    assert kept == Kept(600, 50, -100, -300, 3, 1)
    assert metrics.decimal_text(kept.nrr, places=4) == "0.4167"
    assert metrics.decimal_text(kept.grr, places=4) == "0.3333"
    assert metrics.decimal_text(kept.logo_churn, places=4) == "0.3333"
    assert metrics.decimal_text(kept.revenue_churn, places=4) == "0.6667"
    assert metrics.decimal_text(kept.churn_alone, places=4) == "0.5000"


def test_a_loss_counts_in_every_period_that_began_while_the_customer_paid():
    gone = [entry(0, 100, kind="new"), entry(4, 50), entry(6, -150, reason="canceled", product="prod_team")]

    found = retention.kept_of(gone)

    # Three months to July (6) began with 100, those to September (8) with 150, those to October (9) with nothing.
    assert {month - JAN: cell for (_, span, month), cell in found.items() if span == 3} == {
        4: {"expansion_micros": 50},
        5: {"expansion_micros": 50},
        6: {"churn_micros": -100, "churned_customers": 1},
        7: {"churn_micros": -150, "churned_customers": 1},
        8: {"churn_micros": -150, "churned_customers": 1},
    }
    (loss,) = retention.losses_of(gone, JAN)
    assert (loss.month - JAN, loss.back, loss.reason, loss.product, loss.tenure_months) == (
        6,
        None,
        "canceled",
        "prod_team",
        6,
    )
    assert loss.starts == (150, 150, 100, 100, 100, 100, 0, 0, 0, 0, 0, 0)


def test_who_returns_within_the_month_was_not_lost():
    stays = [entry(0, 100, kind="new"), entry(3, -100), entry(3, 100, kind="reactivation")]

    assert retention.losses_of(stays, JAN) == []
    assert retention.kept_of(stays) == {}


def test_what_is_taken_over_counts_as_paid_at_the_start_of_its_month():
    taken = [entry(0, 100, kind="opening"), entry(0, -100, reason="canceled")]

    (loss,) = retention.losses_of(taken, JAN - 30)

    assert loss.starts[:2] == (100, 0)
    assert (loss.tenure_months, retention.tenure(loss.tenure_months)) == (30, retention.LONG_TENURE)
    assert retention.kept_of(taken)["usd", 3, JAN + 2] == {"churn_micros": -100, "churned_customers": 1}


def test_a_failed_payment_is_no_decision():
    assert [retention.is_voluntary(reason) for reason in ("payment_failed", "canceled", "dispute_lost")] == [
        False,
        True,
        True,
    ]


@given(
    st.integers(-10_000, 10_000),
    st.dictionaries(st.text(max_size=3), st.integers(-1_000, 1_000), min_size=1, max_size=9),
)
def test_parts_come_to_their_total(more: int, parts: dict[str, int]):
    total = sum(parts.values()) + more

    assert sum(retention.come_to(total, parts).values()) == total


LIVES = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from((0, 0, 40, 70, 100)), st.booleans()), min_size=1, max_size=8
)


@given(st.lists(LIVES, min_size=1, max_size=5))
def test_periods_and_losses_equal_a_plain_comparison_of_balances(lives: list[list[tuple[int, int, bool]]]):
    histories = [_history(life) for life in lives]

    for span in retention.LONG_SPANS:
        for last in range(43):
            assert _kept(histories, span=span, last=last) == _compared(histories, span, last)
    for span in retention.SPANS:
        for last in range(43):
            first = last - span + 1
            lost = [
                -loss.starts[loss.month - JAN - first]
                for entries in histories
                for loss in retention.losses_of(entries, JAN)
                if first <= loss.month - JAN <= last
                and (loss.back is None or loss.back - JAN > last)
                and loss.starts[loss.month - JAN - first]
            ]
            want = _compared(histories, span, last)
            assert (sum(lost), len(lost)) == (want.churn, want.churned)


def _history(life: list[tuple[int, int, bool]]) -> list[Standing]:
    """Make entries that bring the balance to each amount in turn; the first may have been taken over."""
    found: list[Standing] = []
    balance = 0
    for at, (month, amount, is_taken_over) in enumerate(sorted(life, key=lambda one: one[0])):
        if amount != balance:
            kind = "opening" if is_taken_over and not found and amount else ""
            kind = kind or ("expansion" if amount > balance else "contraction")
            found.append(Standing(kind, "usd", amount - balance, 0, month * MONTH + at, JAN + month, "canceled"))
        balance = amount
    return found


def _starts(entries: list[Standing], first: int) -> int:
    return sum(
        one.micros for one in entries if one.month - JAN < first or (one.month - JAN == first and one.type == "opening")
    )


def _compared(histories: list[list[Standing]], span: int, last: int) -> Kept:
    """Compare balances at both ends, customer by customer."""
    found: dict[str, int] = defaultdict(int)
    for entries in histories:
        start = _starts(entries, last - span + 1)
        end = sum(one.micros for one in entries if one.month - JAN <= last)
        if start:
            found["start"] += start
            found["customers"] += 1
            found["churned"] += not end
            found["churn" if not end else "expansion" if end > start else "contraction"] += end - start
    names = ("start", "expansion", "contraction", "churn", "customers", "churned")
    return Kept(*(found[name] for name in names))


def _kept(histories: list[list[Standing]], *, span: int, last: int) -> Kept:
    """Read a period out of the kept sums, its start from balances."""
    sums: dict[str, int] = defaultdict(int)
    for entries in histories:
        for (_, months, month), columns in retention.kept_of(entries).items():
            if (months, month - JAN) == (span, last):
                for name, amount in columns.items():
                    sums[name] += amount
    starts = [start for entries in histories if (start := _starts(entries, last - span + 1))]
    return Kept(sum(starts), *(sums[name] for name in retention.COLUMNS[:3]), len(starts), sums["churned_customers"])
