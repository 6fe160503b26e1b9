"""The workbench: its lists and filters, what the card shows, every decision and its undo, with and without scripts."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from crm import matching, scoring
from crm.models import Match, SyncRecord, Unmatched
from dashboard.pages.unmatched import compare, words
from dashboard.roles import Role
from tests.dashboard.people import person
from tests.dashboard.test_pages import NOW, World, march, page_of, text_of, world

__all__ = ["march", "world"]

PAGE = "/dashboard/unmatched/"
SCRIPT = {"HX-Request": "true"}


@pytest.fixture
def client(world: World) -> Client:
    return page_of(Role.REVOPS)


@pytest.fixture
def beta(world: World) -> int:
    return world.pk(world.beta)


def queue(answer: Any) -> str:
    """Return the names in the queue."""
    return " ".join(re.findall(r'<a class="who" href="[^"]*" tabindex="-1">([^<]*)', answer.content.decode()))


def accept(client: Client, world: World, customer: int, *, url: str = "/dashboard/matches/", **more: str) -> Any:
    chosen = {"customer": str(customer), "account_id": world.other.salesforce_id}
    return client.post(url, {**chosen, **more}, headers=SCRIPT)


# ---- deciding without scripts ----


def test_a_match_releases_what_is_held_and_can_be_undone(world: World, client: Client, beta: int) -> None:
    assert SyncRecord.objects.filter(customer=beta, state="held").exists()
    before = text_of(client.get(f"{PAGE}?customer={beta}"))
    assert "If accepted: adds $8.33 of MRR to Beta Bakery Ltd (now $0.00, becomes $8.33)" in before
    assert "Releases 2 held records: 1 Opportunity, 1 schedule entry." in before

    answer = client.post("/dashboard/matches/", {"customer": beta, "account_id": world.other.salesforce_id})

    assert answer.status_code == 302
    match = Match.objects.get(customer=beta, undone_at__isnull=True)
    assert match.matched_by == "revops-person"
    assert not SyncRecord.objects.filter(customer=beta, state="held").exists()
    assert "Matched Beta Bakery to Beta Bakery Ltd, 2 records released." in text_of(client.get(PAGE))

    client.post(f"/dashboard/matches/{match.pk}/delete/")

    assert not Match.objects.filter(customer=beta, undone_at__isnull=True).exists()
    assert Unmatched.objects.get(customer=beta).reason == "undone"
    assert "Nothing was decided yet" in text_of(client.get(PAGE))


def test_who_comes_second_is_told_who_was_first(world: World, beta: int) -> None:
    first = page_of(Role.REVOPS)
    get_user_model().objects.filter(username="revops-person").update(first_name="Ana", last_name="Duarte")
    accept(first, world, beta)
    second = Client()
    second.force_login(person(Role.REVOPS, "late"), backend="django.contrib.auth.backends.ModelBackend")
    chosen = {"customer": beta, "account_id": world.account.salesforce_id}

    told = text_of(second.post("/dashboard/matches/", chosen, follow=True))
    at_once = second.post("/dashboard/matches/", chosen, headers=SCRIPT)

    words = "Somebody was first. Ana Duarte matched this customer at 20 Mar 2026 12:00 UTC. Nothing of yours was saved."
    assert words in told
    assert f"Beta Bakery. {words}" in text_of(at_once)
    assert 'data-outcome="gone"' in at_once.content.decode()
    assert Match.objects.get(customer=beta, undone_at__isnull=True).account_id == world.other.pk


def test_who_sets_aside_what_was_matched_meanwhile_is_told_so_too(world: World, client: Client, beta: int) -> None:
    matching.match(beta, world.other.salesforce_id, by="ana", now=NOW)

    answer = client.post("/dashboard/snoozes/", {"customer": beta}, headers=SCRIPT)

    assert "Somebody was first. ana matched this customer" in text_of(answer)
    assert 'data-outcome="gone"' in answer.content.decode()


def test_a_match_without_an_account_says_what_is_missing(client: Client, beta: int) -> None:
    answer = client.post("/dashboard/matches/", {"customer": beta}, follow=True)
    at_once = client.post("/dashboard/matches/", {"customer": beta}, headers=SCRIPT)

    assert "No Account was chosen." in text_of(answer)
    assert "No Account was chosen." in text_of(at_once)
    assert 'data-outcome="stays"' in at_once.content.decode()


def test_a_decision_goes_on_with_the_next_customer(world: World, client: Client, beta: int) -> None:
    form = {"customer": beta, "account_id": world.other.salesforce_id, "next": "77"}

    answer = client.post("/dashboard/matches/?reason=no_contact&order=age", form)

    assert answer["Location"] == f"{PAGE}?reason=no_contact&order=age&customer=77"


@pytest.mark.parametrize(
    ("url", "form", "kind", "words"),
    [
        ("/dashboard/snoozes/", {}, "snoozed", "Snoozed, until 27 Mar 2026"),
        ("/dashboard/waits/", {"what": "new_account"}, "expected", "A new Account in Salesforce: revops-person, until"),
        ("/dashboard/ignores/", {"ignored": "internal"}, "ignored", "One of us: revops-person on 20 Mar 2026"),
    ],
)
def test_who_is_set_aside_stands_in_a_list_of_its_own_and_comes_back(
    client: Client, beta: int, url: str, form: dict[str, str], kind: str, words: str
) -> None:
    client.post(url, {"customer": beta, **form})
    assert "Beta Bakery" not in queue(client.get(PAGE))
    there = client.get(f"{PAGE}?tab={kind}")
    assert "Beta Bakery" in queue(there)
    assert words in text_of(there)
    assert f"{kind.capitalize()} Beta Bakery. Undo" in text_of(there)

    client.post(f"/dashboard/unmatched/back/{kind}/", {"customer": beta})

    assert "Beta Bakery" in queue(client.get(PAGE))
    assert "Beta Bakery" not in queue(client.get(f"{PAGE}?tab={kind}"))


@pytest.mark.parametrize(("url", "form"), [("waits", {"what": "godot"}), ("ignores", {"ignored": ""})])
def test_a_reason_that_is_none_is_refused_and_the_customer_stays(
    client: Client, beta: int, url: str, form: dict[str, str]
) -> None:
    answer = client.post(f"/dashboard/{url}/", {"customer": beta, **form}, headers=SCRIPT)

    assert 'data-outcome="stays"' in answer.content.decode()
    assert "Choose one of" in text_of(answer)


# ---- what a script gets ----


def test_a_decision_answers_with_what_it_changed_and_nothing_else(world: World, client: Client, beta: int) -> None:
    answer = accept(client, world, beta, url="/dashboard/matches/?reason=no_contact")
    body = answer.content.decode()

    assert "<html" not in body and "<h1" not in body
    for part in ("bench-facts", "bench-tabs", "bench-said", "bench-heading", "bench-foot"):
        assert body.count(f'id="{part}"') == 1
    assert "Matched Beta Bakery to Beta Bakery Ltd" in text_of(answer)
    assert "Waiting 3" in text_of(answer)
    assert "?reason=no_contact" in body  # the undo finds the same view again


def test_an_undo_brings_the_row_back(world: World, client: Client, beta: int) -> None:
    accept(client, world, beta)
    match = Match.objects.get(customer=beta)

    answer = client.post(f"/dashboard/matches/{match.pk}/delete/", {"customer": beta}, headers=SCRIPT)

    assert 'data-outcome="back"' in answer.content.decode()
    assert f'id="row-{beta}"' in answer.content.decode()
    assert "Undone. The customer waits again." in text_of(answer)


def test_decisions_are_undone_one_after_the_other_the_newest_first(world: World, client: Client, beta: int) -> None:
    gone = world.pk(world.gone)
    client.post("/dashboard/ignores/", {"customer": gone, "ignored": "internal"})
    accept(client, world, beta)
    match = Match.objects.get(customer=beta)

    first = client.post(f"/dashboard/matches/{match.pk}/delete/", {"customer": beta}, headers=SCRIPT)
    assert "Ignored Gone Fishing. Undo" in text_of(first)
    second = client.post("/dashboard/unmatched/back/ignored/", {"customer": gone}, headers=SCRIPT)

    assert "Ignored Gone" not in text_of(second)
    waiting = queue(client.get(PAGE))
    assert "Beta Bakery" in waiting and "Gone Fishing" in waiting


def test_an_undo_that_a_colleague_made_before_is_said_and_offered_no_more(
    world: World, client: Client, beta: int
) -> None:
    accept(client, world, beta)
    match = Match.objects.get(customer=beta)
    matching.unmatch(match.pk, by="ana", now=NOW)

    answer = client.post(f"/dashboard/matches/{match.pk}/delete/", {"customer": beta}, headers=SCRIPT)

    assert "This match is not there, or was undone before." in text_of(answer)
    assert "data-decision" not in answer.content.decode()


def test_a_card_comes_alone_and_says_when_its_customer_waits_no_more(world: World, client: Client, beta: int) -> None:
    alone = client.get(f"{PAGE}?customer={beta}", headers={"HX-Target": "bench-card"})
    assert alone.content.decode().lstrip().startswith("<section") and "Beta Bakery" in text_of(alone)
    accept(client, world, beta)

    late = client.get(f"{PAGE}?customer={beta}", headers={"HX-Target": "bench-card"})

    assert "It waits no more" in text_of(late)


def test_rows_come_alone_with_the_way_on(client: Client) -> None:
    answer = client.get(PAGE, headers={"HX-Target": "bench-rows"})

    assert "<h1" not in answer.content.decode()
    assert "Beta Bakery" in queue(answer)


# ---- lists, filters, orders ----


def test_the_queue_is_sorted_by_money_age_or_score(world: World, client: Client, beta: int) -> None:
    gone = world.pk(world.gone)
    Unmatched.objects.exclude(customer=gone).update(since=NOW - timedelta(days=2), candidates=[])
    Unmatched.objects.filter(customer=gone).update(since=NOW - timedelta(days=9))
    Unmatched.objects.filter(customer=beta).update(
        candidates=[{"account_id": world.other.salesforce_id, "name": "Beta", "score": 80, "reasons": []}]
    )

    firsts = {order: queue(client.get(f"{PAGE}?order={order}")) for order in ("mrr", "age", "score")}

    assert firsts["mrr"].startswith("Euro Trains")
    assert firsts["age"].startswith("Gone Fishing")
    assert firsts["score"].startswith("Beta Bakery")


@pytest.mark.parametrize("order", ["mrr", "age", "score"])
def test_a_page_goes_on_where_the_one_before_ended_in_every_order(
    client: Client, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    whole = queue(client.get(f"{PAGE}?order={order}"))
    monkeypatch.setattr("dashboard.pages.unmatched.page.PAGE_SIZE", 1)
    url, seen = f"?order={order}", []
    while url:
        answer = client.get(PAGE + url, headers={"HX-Target": "bench-rows"})
        seen.append(queue(answer))
        found = re.search(r'href="([^"]+)" rel="next"', answer.content.decode())
        url = found.group(1).replace("&amp;", "&") if found else ""

    assert " ".join(seen) == whole
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("score=80", "Beta Bakery"),
        ("score=0", "Euro Trains Back Again Gone Fishing"),
        ("score=40&age=7", ""),
        ("age=7", "Gone Fishing"),
        ("currency=eur", "Euro Trains"),
        ("reason=several_contacts", ""),
    ],
)
def test_filters_keep_what_fits(world: World, client: Client, beta: int, query: str, names: str) -> None:
    Unmatched.objects.update(candidates=[])
    Unmatched.objects.filter(customer=world.pk(world.gone)).update(since=NOW - timedelta(days=9))
    Unmatched.objects.filter(customer=beta).update(
        candidates=[{"account_id": world.other.salesforce_id, "name": "Beta", "score": 80, "reasons": []}]
    )

    answer = client.get(f"{PAGE}?{query}")

    assert queue(answer) == names
    if not names:
        assert "Nobody fits these filters" in text_of(answer)


@pytest.mark.parametrize("query", ["reason=none", "score=7", "age=1000", "order=name", "after=x", "currency=xyz"])
def test_words_that_no_page_wrote_are_refused(client: Client, query: str) -> None:
    assert client.get(f"{PAGE}?{query}").status_code == 400


def test_a_customer_that_the_address_names_stands_first_wherever_it_is(client: Client, beta: int) -> None:
    client.post("/dashboard/ignores/", {"customer": beta, "ignored": "internal"})

    answer = client.get(f"{PAGE}?customer={beta}")

    assert queue(answer).startswith("Beta Bakery")
    assert "Bring back" in text_of(answer)


# ---- the card ----


def test_equal_parts_are_marked_on_both_sides() -> None:
    line = compare.words("Name", "Kestrel Robotics Inc.", "KESTREL Robotics (UK) Ltd")

    assert [part.text for part in line.ours if part.is_equal] == ["Kestrel", "Robotics"]
    assert [part.text for part in line.theirs if part.is_equal] == ["KESTREL", "Robotics"]
    assert "".join(part.text for part in line.theirs) == "KESTREL Robotics (UK) Ltd"
    assert line.tone == "eq"


@pytest.mark.parametrize(
    ("line", "tone"),
    [
        (compare.words("Name", "Acme", "Zebra"), "ne"),
        (compare.words("Name", "", "Zebra"), ""),
        (compare.words("Name", "A. Co.", "B. Ltd."), "ne"),
        (compare.domains("Domain", "mail.acme.com", "acme.com"), "eq"),
        (compare.domains("Domain", "notacme.com", "acme.com"), "ne"),
        (compare.domains("Domain", "", "acme.com"), ""),
        (compare.phones("Phone", "+1 415 555 0142", "(415) 555-0142"), "eq"),
        (compare.phones("Phone", "+1 415 555 0142", "(415) 555-0143"), "ne"),
        (compare.places("Postcode", "ec1a 1bb", "EC1A1BB"), "eq"),
        (compare.places("Postcode", "", "EC1A1BB"), ""),
    ],
)
def test_records_agree_differ_or_are_not_known(line: compare.PairLine, tone: str) -> None:
    assert line.tone == tone


def test_a_website_is_compared_as_people_know_it() -> None:
    assert compare.host("https://www.Acme.com/contact?x=1") == "acme.com"


def test_the_effect_is_computed_with_who_is_on_the_account_already(world: World, client: Client, beta: int) -> None:
    Unmatched.objects.filter(customer=beta).update(
        candidates=[{"account_id": world.account.salesforce_id, "name": "Acme Rockets Inc", "score": 35, "reasons": []}]
    )

    shown = text_of(client.get(f"{PAGE}?customer={beta}"))

    assert "adds $8.33 of MRR to Acme Rockets Inc (now $50.00, becomes $58.33)." in shown
    assert "By Account, its new becomes expansion." in shown
    assert "1 other customer is on this Account: Acme Rockets." in shown


def test_a_beginning_after_everybody_left_becomes_a_reactivation(world: World, client: Client) -> None:
    gone, back = world.pk(world.gone), world.pk(world.back)
    matching.match(gone, world.other.salesforce_id, by="ana", now=NOW)
    late = world.customer("Late Comer", on="2026-03-18", email="late@gone.example")
    late.subscribes("Team", monthly="20.00", on="2026-03-18")
    Unmatched.objects.update(
        candidates=[{"account_id": world.other.salesforce_id, "name": "Beta Bakery Ltd", "score": 35, "reasons": []}]
    )

    shown = text_of(client.get(f"{PAGE}?customer={world.pk(late)}"))
    among_payers = text_of(client.get(f"{PAGE}?customer={back}"))

    assert "By Account, its new becomes reactivation." in shown
    assert "By Account, its reactivation becomes expansion." in among_payers  # Gone Fishing paid until 15 March


def test_one_payer_on_two_accounts_is_warned_of(world: World, client: Client) -> None:
    twin = world.customer("Acme Rockets UK", on="2026-03-01", email="pay@acme-rockets.example")
    Match.objects.filter(customer=world.pk(twin)).delete()
    Unmatched.objects.update_or_create(
        customer_id=world.pk(twin),
        defaults={
            "reason": "several_contacts",
            "since": NOW,
            "checked_at": NOW,
            "candidates": [
                {"account_id": world.other.salesforce_id, "name": "Beta Bakery Ltd", "score": 90, "reasons": []}
            ],
        },
    )

    shown = text_of(client.get(f"{PAGE}?customer={world.pk(twin)}"))

    assert f"Its e-mail also pays as {world.acme.id} (Acme), which is Acme Rockets Inc." in shown
    assert "Accepting spreads one payer over two Accounts." in shown


def test_a_contact_with_the_e_mail_is_said(world: World, client: Client, beta: int) -> None:
    page = f"{PAGE}?customer={beta}"
    assert "No Contact with this e-mail" in text_of(client.get(page))
    said = {"kind": "contact_email", "weight": 90, "text": "A Contact of the Account has the e-mail"}
    Unmatched.objects.filter(customer=beta).update(
        candidates=[
            {"account_id": world.other.salesforce_id, "name": "Beta Bakery Ltd", "score": 90, "reasons": [said]}
        ]
    )

    assert "A Contact has it" in text_of(client.get(page))


def test_accounts_are_found_by_search_and_the_first_found_is_chosen(world: World, client: Client) -> None:
    answer = client.get(f"{PAGE}?customer={world.pk(world.gone)}&find=beta")

    assert "Beta Bakery Ltd" in text_of(answer) and "Found by your search" in text_of(answer)
    chosen = re.search(r'value="([^"]+)"[^>]*checked', answer.content.decode())
    assert chosen and chosen.group(1) == world.other.salesforce_id


def test_a_customer_is_linked_to_the_account_of_another_one(world: World, client: Client, beta: int) -> None:
    acme = world.pk(world.acme)
    shown = client.get(f"{PAGE}?customer={beta}&like=rockets")
    assert "Its customer Acme Rockets (Acme)" in text_of(shown)
    assert f'value="like:{acme}"' in shown.content.decode()

    client.post("/dashboard/matches/", {"customer": beta, "account_id": f"like:{acme}"})

    assert Match.objects.get(customer=beta, undone_at__isnull=True).account_id == world.account.pk


def test_a_link_to_a_customer_without_an_account_is_refused(world: World, client: Client, beta: int) -> None:
    form = {"customer": beta, "account_id": f"like:{world.pk(world.gone)}"}

    answer = client.post("/dashboard/matches/", form, headers=SCRIPT)

    assert "The other customer has no Account itself." in text_of(answer)
    assert client.post("/dashboard/matches/", {"customer": beta, "account_id": "like:x"}).status_code == 404


def test_a_customer_is_assigned_from_its_card(client: Client, beta: int) -> None:
    bob = person(Role.REVOPS, "bob")

    answer = client.post("/dashboard/assignments/", {"customer": beta, "assignee": bob.pk}, headers=SCRIPT)

    assert 'data-outcome="changed"' in answer.content.decode()
    assert "bob looks after it." in text_of(answer)
    assert queue(client.get(f"{PAGE}?assignee={bob.pk}")) == "Beta Bakery"
    again = client.post("/dashboard/assignments/", {"customer": beta, "assignee": bob.pk}, headers=SCRIPT)
    assert "Nothing was written, and nothing else was changed." in text_of(again)
    nobody = client.post("/dashboard/assignments/", {"customer": beta, "assignee": ""}, headers=SCRIPT)
    assert "Nobody looks after it now." in text_of(nobody)


def test_an_account_is_made_only_where_the_setting_allows_it(world: World, client: Client, beta: int) -> None:
    assert "New Account" not in text_of(client.get(PAGE))
    world.org.makes_accounts = True
    world.org.save()
    assert "New Account" in text_of(client.get(PAGE))

    answer = client.post("/dashboard/accounts/", {"customer": beta}, headers=SCRIPT)

    assert 'data-outcome="stays"' in answer.content.decode()
    assert "In shadow mode nothing is written. It would make the Account Beta Bakery" in text_of(answer)


def test_how_matching_goes_is_read_after_the_page(client: Client, world: World, beta: int) -> None:
    accept(client, world, beta)

    told = text_of(client.get(PAGE, headers={"HX-Target": "bench-metrics"}))

    assert "In the last 90 days 1 customer was matched alone, of which 100.00% stood, and 1 by people" in told


# ---- many at once ----


def test_each_kind_of_evidence_has_words() -> None:
    assert set(scoring.WEIGHTS) - set(words.KINDS) == set()


@pytest.fixture
def sure(world: World, beta: int) -> None:
    said = [{"kind": "website_domain", "weight": 45, "text": ""}, {"kind": "company_name", "weight": 45, "text": ""}]
    Unmatched.objects.filter(customer=beta).update(
        candidates=[{"account_id": world.other.salesforce_id, "name": "Beta Bakery Ltd", "score": 90, "reasons": said}]
    )


def test_many_are_accepted_only_when_their_count_is_typed(world: World, client: Client, beta: int, sure: None) -> None:
    shown = client.get(f"{PAGE}bulk/?score=90")
    assert "1 customer, $8.33 of MRR" in text_of(shown) and "Beta Bakery Ltd" in text_of(shown)
    pairs = re.search(r'name="pairs" value="([^"]+)"', shown.content.decode())
    assert pairs
    form = {"pairs": pairs.group(1), "score": "90"}

    wrong = client.post(f"{PAGE}bulk/accept/", {**form, "count": "2"}, follow=True)
    assert "Nothing was matched. Type 1" in text_of(wrong)
    assert not Match.objects.filter(customer=beta).exists()
    done = client.post(f"{PAGE}bulk/accept/", {**form, "count": "1"}, follow=True)

    assert "1 customer matched." in text_of(done)
    assert Match.objects.get(customer=beta).matched_by == "revops-person"


def test_what_changed_since_the_page_was_shown_is_refused_by_name(
    world: World, client: Client, beta: int, sure: None
) -> None:
    matching.ignore(beta, reason="internal", note="", by="ana", now=NOW)
    form = {"pairs": f"{beta}:{world.other.salesforce_id}", "score": "90", "count": "1"}

    told = text_of(client.post(f"{PAGE}bulk/accept/", form, follow=True))

    assert "0 customers matched." in told
    assert "1 customer not matched. Beta Bakery: ana ignored it meanwhile." in told


def test_nothing_above_the_score_says_so(client: Client) -> None:
    Unmatched.objects.update(candidates=[])

    assert "Nobody has one candidate alone with 95 points or more" in text_of(client.get(f"{PAGE}bulk/?score=95"))


@pytest.mark.parametrize("query", ["score=x", "score=0", "score=101"])
def test_a_score_that_is_none_is_refused(client: Client, query: str) -> None:
    assert client.get(f"{PAGE}bulk/?{query}").status_code == 400


# ---- who sees what, and what it costs ----


def test_a_viewer_sees_ids_and_may_decide_nothing(world: World, beta: int, sure: None) -> None:
    shown = page_of(Role.VIEWER).get(f"{PAGE}?customer={beta}&find=acme&like=acme")

    for hidden in ("Beta Bakery", "@", "Acme Rockets", "Olga"):
        assert hidden not in text_of(shown)
    assert world.other.salesforce_id in text_of(shown)
    assert "Your role sees this list and may not match." in text_of(shown)
    assert "data-decision" not in shown.content.decode().replace('data-decision="gone"', "", 1)


def test_a_page_a_card_and_a_decision_cost_at_most_twenty_queries(world: World, client: Client, beta: int) -> None:
    matching.match(world.pk(world.gone), world.other.salesforce_id, by="ana", now=NOW)
    Unmatched.objects.filter(customer=beta).update(
        candidates=[
            {"account_id": one.salesforce_id, "name": one.name, "score": 90, "reasons": []}
            for one in (world.account, world.other)
        ]
    )
    client.post("/dashboard/ignores/", {"customer": world.pk(world.euro), "ignored": "internal"})
    asks = {
        "page": lambda: client.get(f"{PAGE}?customer={beta}"),
        "card": lambda: client.get(f"{PAGE}?customer={beta}", headers={"HX-Target": "bench-card"}),
        "rows": lambda: client.get(PAGE, headers={"HX-Target": "bench-rows"}),
        "bulk": lambda: client.get(f"{PAGE}bulk/"),
    }

    for name, ask in asks.items():
        with CaptureQueriesContext(connection) as found:
            ask()
        assert len(found) <= 20, f"{name}: {len(found)} queries"
