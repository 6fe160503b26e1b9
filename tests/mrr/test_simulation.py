"""Thousands of made-up histories: whatever the deliveries, the books end the same, close and add up."""

from __future__ import annotations

import random

import pytest

from config.benchmarks import histories, simulate

BY_ENGINE = 2_000
A_PART = 500
THROUGH_THE_PIPELINE = 150


@pytest.mark.parametrize("first", range(0, BY_ENGINE, A_PART))
def test_any_delivery_ends_in_the_same_books_which_add_up(first):
    """Order, copies, batches and closes; lines, movements, months, cohorts; reversed pairs and closed months."""
    _, faults = simulate.prove_all(range(first, first + A_PART))

    assert faults == []


@pytest.mark.django_db
def test_the_pipeline_comes_to_what_the_engine_says_in_any_order(settings):
    found = simulate.through_the_pipeline(range(BY_ENGINE, BY_ENGINE + THROUGH_THE_PIPELINE))

    assert found["faults"] == []
    assert found["differences"] == 0
    assert found["entries"] > 2 * THROUGH_THE_PIPELINE


def test_each_trait_is_in_a_tenth_of_all_histories():
    found = histories.shares([histories.history(seed) for seed in range(400)])

    assert all(share >= 0.1 for share in found.values()), found


def test_a_seed_always_tells_the_same_history():
    assert histories.history(7) == histories.history(7)
    assert histories.history(7) != histories.history(8)


def test_a_fault_would_be_noticed(monkeypatch):
    """An engine that depended on the order of delivery would not pass."""
    told = simulate.Reader.known

    def known(reader, places):
        places = list(places)
        found = told(reader, places)
        return found if places == sorted(places) else simulate.Known({}, found.deleted, found.facts)

    monkeypatch.setattr(simulate.Reader, "known", known)

    _, faults = simulate.prove_all(random.Random(1).sample(range(100), 20))

    assert len(faults) > 10
    assert all(fault.startswith("seed ") for fault in faults)
