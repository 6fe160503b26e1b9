"""Real-looking pairs of customers and Accounts: nobody is matched wrongly alone, and most of the sure ones are.

The threshold is set on one half of the pairs and reported on the other; `pytest -s` prints the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from django.db import transaction
from django.utils import timezone

from billing import selectors as billing
from crm import scoring
from crm.matching.deciding import OPEN, Decision, decide
from crm.models import SalesforceOrg, Unmatched
from tests.crm.conftest import reads
from tests.crm.labelled import FRESH, Case, World, cases

pytestmark = pytest.mark.django_db

DEFAULT = SalesforceOrg._meta.get_field("match_threshold").default
THRESHOLDS = range(50, 100, 5)
SETTING, REPORTING = 0, 1
MARGIN = 5


@dataclass(frozen=True)
class Outcome:
    """What was decided on a case, and the truth: the ids of the Accounts that the customer is."""

    case: Case
    decision: Decision
    right: frozenset[str]

    def taken(self, threshold: int) -> str | None:
        """Return the Account that would be taken alone at a threshold."""
        if self.decision.how == "metadata":
            return self.decision.account.salesforce_id
        if self.decision.reason not in (*OPEN, "several_candidates", "evidence_against"):
            return None
        found = scoring.sure(self.decision.candidates, threshold=threshold)
        return found.account_id if found else None

    def is_wrong(self, threshold: int) -> bool:
        return self.taken(threshold) is not None and self.taken(threshold) not in self.right

    def is_found(self, threshold: int) -> bool:
        return self.taken(threshold) in self.right


@pytest.fixture
def outcomes(db) -> list[Outcome]:
    return outcomes_of(cases())


def outcomes_of(of: list[Case]) -> list[Outcome]:
    """Each case in an org of its own."""
    found = []
    for case in of:
        with transaction.atomic():
            world = World()
            pk, right = world.put(case)
            decision = decide(billing.customers([pk]), world.org, now=timezone.now())[pk]
            found.append(Outcome(case, decision, frozenset(right)))
            transaction.set_rollback(True)
    return found


def share(found: int, of: int) -> str:
    return f"{found} of {of} ({100 * found / of:.1f} %)"


def told(half: list[Outcome], threshold: int) -> str:
    sure = [one for one in half if one.case.is_sure]
    alone = [one for one in half if one.taken(threshold) is not None]
    return (
        f"automatic precision {share(sum(one.is_found(threshold) for one in alone), len(alone))}, "
        f"recall of pairs with enough evidence {share(sum(one.is_found(threshold) for one in sure), len(sure))}, "
        f"left to people {share(len(half) - len(alone), len(half))}"
    )


def test_there_are_enough_pairs_and_look_alikes():
    found = cases()

    assert len(found) >= 300
    assert sum(case.is_lookalike for case in found) >= 100
    assert len({(case.customer.name, str(case.customer.said)) for case in found}) == len(found)
    assert 0.4 < sum(case.half for case in found) / len(found) < 0.6


def test_the_threshold_is_set_on_one_half_and_holds_on_the_other(outcomes):
    halves = [[one for one in outcomes if one.case.half == half] for half in (SETTING, REPORTING)]
    wrong = {at: [one.case.customer.name for one in halves[SETTING] if one.is_wrong(at)] for at in THRESHOLDS}
    safe = min(at for at in THRESHOLDS if not any(wrong[higher] for higher in THRESHOLDS if higher >= at))
    report(halves, safe)

    assert safe + MARGIN <= DEFAULT
    for half in halves:
        sure = [one for one in half if one.case.is_sure]
        assert [one.case.customer.name for one in half if one.is_wrong(DEFAULT)] == []
        assert sum(one.is_found(DEFAULT) for one in sure) >= 0.8 * len(sure)


def test_pairs_written_without_knowing_the_rules():
    found = outcomes_of(cases(FRESH))

    print(f"\nfresh at {DEFAULT}: {told(found, DEFAULT)}")
    print_faults(found)
    assert len(found) >= 110
    assert sum(one.case.is_lookalike for one in found) >= 50
    # At the first try one was wrong and 21 of the sure ones were found. Who wrote the rules since has seen them: they
    # hold what was reached, and measure nothing any more (docs/decisions/0014).
    assert [one.case.customer.name for one in found if one.is_wrong(DEFAULT)] == []
    sure = [one for one in found if one.case.is_sure]
    assert sum(one.is_found(DEFAULT) for one in sure) >= 0.9 * len(sure)
    listed = [one for one in found if one.case.customer.said.keys().isdisjoint({"id", "id15"}) and one.right]
    assert (
        sum(bool(one.right & {seen.account_id for seen in one.decision.candidates}) for one in listed)
        >= len(listed) - 1
    )


def report(halves: list[list[Outcome]], safe: int) -> None:
    print()
    for at in THRESHOLDS:
        print(f"{at}: {told(halves[SETTING], at)}")
    print(f"the lowest safe threshold of the first half is {safe}, the default {DEFAULT}")
    print(f"the other half at {DEFAULT}: {told(halves[REPORTING], DEFAULT)}")
    print_faults([one for half in halves for one in half])


def print_faults(found: list[Outcome]) -> None:
    for one in found:
        if one.is_wrong(DEFAULT):
            print(f"  wrong: {one.case.customer.name}")
        if one.case.is_sure and not one.is_found(DEFAULT):
            print(f"  left to people: {one.case.customer.name}")


def test_what_is_taken_alone_follows_from_what_is_shown(outcomes):
    for one in outcomes:
        taken = one.decision.account.salesforce_id if one.decision.account else None
        assert one.taken(DEFAULT) == taken, one.case.customer.name


def test_the_right_account_is_the_first_that_people_see(outcomes):
    seen = [one for one in outcomes if not one.case.is_lookalike and one.decision.candidates]

    assert sum(one.decision.candidates[0].account_id in one.right for one in seen) >= 0.95 * len(seen)


def test_all_in_one_org_nobody_is_taken_for_who_looks_alike():
    world = World()
    put = [(case, *world.put(case)) for case in cases()]

    decisions = decide(billing.customers([pk for _, pk, _ in put]), world.org, now=timezone.now())

    taken = {pk: decisions[pk].account.salesforce_id for _, pk, _ in put if decisions[pk].account}
    sure = [pk for case, pk, _ in put if case.is_sure]
    print(f"\nall in one org, of those with enough evidence taken alone: {share(len(taken.keys() & sure), len(sure))}")
    assert [case.customer.name for case, pk, _ in put if taken.get(pk) in world.wrong[pk]] == []
    assert len(taken.keys() & sure) >= 0.8 * len(sure)


def test_hostile_texts_never_reach_a_query_to_salesforce(scenario, salesforce, shadow):
    hostile = [case for case in cases() if any(sign in case.customer.name for sign in "'<%{")]
    salesforce.add_account(Name="Acme' OR Name != '", Website="acme.com")
    reads(salesforce)

    for case in hostile:
        scenario.customer(
            case.customer.name, email=case.customer.said.get("mail"), salesforce_account_id="' OR Id != '"
        )

    scenario.customer("' OR Name LIKE '%", email="x'@evil.test", salesforce_account_id="0015g00000ZzZzZ")

    asked = [text for request in salesforce.requests for text in request.query.get("q", [])]
    assert asked and len(hostile) >= 6 and not any(case.customer.name in text for case in hostile for text in asked)
    assert not any(" OR " in text or "evil" in text for text in asked)
    assert set(Unmatched.objects.values_list("reason", flat=True)) == {"malformed_id", "no_account_for_id"}
