"""What always holds, whatever customers do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from mrr import rollups
from mrr.engine.movements import Replay, reconcile, replay
from mrr.rollups import Standing
from tests.mrr.histories import KnownStep, at, item, state

START = at("2025-01-01")
NOW = at("2027-06-01")
STATUSES = ["active", "active", "active", "past_due", "trialing", "unpaid", "paused", "canceled", "incomplete"]


@st.composite
def customers(draw) -> dict[str, list[KnownStep]]:
    found = {}
    for number in range(draw(st.integers(1, 3))):
        name, currency = f"sub_{number}", draw(st.sampled_from(["usd", "usd", "eur"]))
        moment = START + draw(st.integers(0, 400)) * 3600 * 6
        began, steps = moment, []
        for place in range(draw(st.integers(1, 6))):
            status = draw(st.sampled_from(STATUSES))
            items = tuple(
                item(
                    draw(st.sampled_from([0, 999, 5000, 120_000])),
                    id=f"si_{name}_{n}",
                    quantity=draw(st.integers(0, 3)),
                    per=draw(st.sampled_from(["month", "year", "week"])),
                )
                for n in range(draw(st.integers(1, 2)))
            )
            said = replace(state(*items, status=status, currency=currency), started_at=began)
            if status == "canceled":
                said = replace(said, ended_at=moment)
            kind = "created" if not place else "deleted" if status == "canceled" else "updated"
            steps.append(KnownStep(moment, f"evt_{name}_{place}", f"customer.subscription.{kind}", said))
            if status == "canceled":
                break
            moment += draw(st.sampled_from([60, 1800, 3601, 86_400, 86_400 * 40]))
        found[name] = steps
    return found


def standing(found: Replay) -> list[Standing]:
    return [
        Standing(m.type, m.currency, m.micros, m.paying_delta, m.effective_at, _month(m.effective_at))
        for m in found.movements
    ]


def _month(moment: int) -> int:
    return rollups.month_number(datetime.fromtimestamp(moment, UTC).date())


@given(customers())
def test_the_movements_add_up_to_the_balance(history):
    found = replay(history, as_of=NOW)

    sums: Counter[str] = Counter()
    for movement in found.movements:
        sums[movement.currency] += movement.micros
    assert {currency: micros for currency, micros in sums.items() if micros} == dict(found.balances)


@given(customers())
def test_a_movements_lines_add_up_to_it(history):
    for movement in replay(history, as_of=NOW).movements:
        assert sum(line.micros for line in movement.lines) == movement.micros
        assert all(line.micros for line in movement.lines)


@given(customers())
def test_new_happens_once_and_reactivation_only_after_churn(history):
    """Once a currency, that is: who begins to pay in two within one window is new in both, each at its own moment."""
    movements = replay(history, as_of=NOW).movements
    new = [movement for movement in movements if movement.type == "new"]

    assert len({movement.currency for movement in new}) == len(new)
    assert not new or max(m.effective_at for m in new) - min(m.effective_at for m in new) <= 3600
    for place, movement in enumerate(movements):
        if movement.type == "reactivation":
            assert "churn" in [earlier.type for earlier in movements[:place]]


@given(customers(), st.randoms(use_true_random=False))
def test_subscriptions_may_be_known_in_any_order(history, random):
    names = list(history)
    random.shuffle(names)

    assert replay({name: history[name] for name in names}, as_of=NOW) == replay(history, as_of=NOW)


@given(customers(), st.data())
@settings(max_examples=60)
def test_learning_step_by_step_ends_in_the_same_ledger(history, data):
    """Whatever is learned first, posting differences ends where knowing all at once begins."""
    arrivals = data.draw(st.permutations([(name, step) for name, steps in history.items() for step in steps]))
    known: dict[str, list[KnownStep]] = {}
    ledger: list = []
    for name, step in arrivals:
        known[name] = sorted([*known.get(name, []), step], key=lambda each: (each.created, each.event_id))
        post, reverse = reconcile(replay(known, as_of=NOW).movements, ledger)
        for movement in reverse:
            ledger.remove(movement)
        ledger += post

    assert Counter(ledger) == Counter(replay(history, as_of=NOW).movements)


@given(customers())
def test_what_was_known_then_is_a_prefix_of_time(history):
    """The balance at a moment does not depend on how much later we look back at it, once the window has passed."""
    whole = replay(history, as_of=NOW)
    middle = START + 86_400 * 200
    if any(abs(step.created - middle) < 7200 for steps in history.values() for step in steps):
        return

    early = replay(history, as_of=middle)

    assert [m for m in whole.movements if m.effective_at <= middle] == list(early.movements)


@given(customers())
def test_months_close(history):
    entries = standing(replay(history, as_of=NOW))
    months = rollups.months_of(entries)
    cells = rollups.cohorts_of(entries, min((entry.month for entry in entries), default=None))

    for currency in {entry.currency for entry in entries}:
        balance = sum(entry.micros for entry in entries if entry.currency == currency)
        of = [columns for key, columns in months.items() if key[0] == currency]
        event = sum(
            amount for columns in of for name, amount in columns.items() if name in rollups.EVENT_COLUMN.values()
        )
        netted = sum(
            amount
            for columns in of
            for name, amount in columns.items()
            if name.startswith("netted") and name.endswith("micros")
        )
        paying = sum(
            columns.get("new_customers", 0)
            + columns.get("reactivated_customers", 0)
            - columns.get("churned_customers", 0)
            for columns in of
        )
        assert event == netted == balance
        assert paying == (balance > 0)
        assert sum(c.get("mrr_micros", 0) for key, c in cells.items() if key[0] == currency) == balance
        assert sum(c.get("customers", 0) for key, c in cells.items() if key[0] == currency) == (balance > 0)


def test_a_second_currency_is_new_in_it_and_keeps_nobody_more_than_whole():
    """Retention in euros is of those who paid euros: what a dollar customer adds in euros is no expansion of them."""
    entries = [
        Standing("new", "usd", 100, 1, 1, 24_300),
        Standing("expansion", "eur", 50, 1, 2, 24_301),
        Standing("contraction", "eur", -50, -1, 3, 24_302),
        Standing("expansion", "eur", 70, 1, 4, 24_303),
    ]

    months = rollups.months_of(entries)

    assert months["eur", 24_301]["netted_new_micros"] == 50
    assert months["eur", 24_302]["netted_churn_micros"] == -50
    assert months["eur", 24_303]["netted_reactivation_micros"] == 70
