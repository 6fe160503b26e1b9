"""The pages: who may open them, what they show and hide, that every figure opens onto what adds up to it."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Customer, StripeEvent
from crm.domains import company_domain
from crm.models import Account, Contact, CustomerRisk, SalesforceOrg, SyncRecord
from dashboard.models import SetupCode
from dashboard.roles import Ability, Role
from mrr import fx
from mrr.engine.rates import Quote
from mrr.models import LedgerEntry, Loss
from tests.dashboard.people import person
from tests.scenario import Scenario

NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)
NAMES = ("Acme Rockets", "Beta Bakery", "Gone Fishing", "Euro Trains", "Back Again")


class World(Scenario):
    """A small company: expansion, a yearly plan, churn, a return, a second currency, one matched customer of five."""

    def __init__(self) -> None:
        super().__init__("acme")
        self.is_held = True
        self.org = SalesforceOrg.objects.create(instance_url="https://acme.my.salesforce.com", is_demo=True)
        self.account = self._account("001000000000001AAA", "Acme Rockets Inc", "acme-rockets.example")
        self.other = self._account("001000000000002AAA", "Beta Bakery Ltd", "")
        self._contact("003000000000001AAA", self.account, "pay@acme-rockets.example")
        self._contact("003000000000002AAA", self.other, "tea@beta-bakery.example")  # its domain and name: not sure
        self.acme = self.customer("Acme Rockets", on="2026-01-10", email="pay@acme-rockets.example")
        self.acme.subscribes("Team", monthly="30.00", on="2026-01-10")
        self.acme.moves_to("Business", monthly="50.00", on="2026-02-01")
        self.beta = self.customer("Beta Bakery", on="2026-02-02", email="pay@beta-bakery.example")
        self.beta.subscribes("Team", yearly="100.00", on="2026-02-02")
        self.gone = self.customer("Gone Fishing", on="2026-01-05", email="pay@gone.example")
        self.gone.subscribes("Team", monthly="20.00", on="2026-01-05")
        self.gone.cancels(on="2026-03-15")
        self.euro = self.customer("Euro Trains", on="2026-02-10", email="pay@euro.example")
        self.euro.subscribes("Team", monthly="40.00", on="2026-02-10", currency="eur")
        self.back = self.customer("Back Again", on="2026-01-20", email="pay@back.example")
        self.back.subscribes("Team", monthly="10.00", on="2026-01-20")
        self.back.cancels(on="2026-02-15")
        self.back.subscribes("Team", monthly="15.00", on="2026-03-10")
        self.arrive_together()

    def _contact(self, salesforce_id: str, account: Account, email: str) -> None:
        Contact.objects.create(
            org=self.org,
            salesforce_id=salesforce_id,
            account_id=account.salesforce_id,
            email=email,
            domain=company_domain(email),
        )

    def _account(self, salesforce_id: str, name: str, domain: str) -> Account:
        return Account.objects.create(
            org=self.org, salesforce_id=salesforce_id, name=name, website=domain, domain=domain, owner_name="Olga Owner"
        )

    def pk(self, story: Any) -> int:
        return Customer.objects.get(source=self.source, stripe_id=story.id).pk


@pytest.fixture
def march() -> Iterator[None]:
    with time_machine.travel(NOW, tick=True):
        yield


@pytest.fixture
def world(db: None, march: None) -> World:
    return World()


def page_of(role: Role | str) -> Client:
    client = Client()
    client.force_login(person(role), backend="django.contrib.auth.backends.ModelBackend")
    return client


def text_of(answer: Any) -> str:
    """Return what a reader sees, spaces folded."""
    body = re.sub(r"<script.*?</script>|<template.*?</template>", " ", answer.content.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def paths(world: World) -> dict[str, Ability]:
    """Every page with the ability that it asks for."""
    customer = f"/dashboard/customers/{world.pk(world.acme)}/"
    event = LedgerEntry.objects.order_by("pk").first().event_ids[0]  # type: ignore[union-attr]
    tabs = ("movements", "subscriptions", "invoices", "salesforce", "events")
    return {
        "/dashboard/": Ability.SEE_FIGURES,
        "/dashboard/?period=12m": Ability.SEE_FIGURES,
        "/dashboard/?currency=eur": Ability.SEE_FIGURES,
        "/dashboard/movements/": Ability.SEE_FIGURES,
        "/dashboard/movements/?period=quarter&type=churn&all=1": Ability.SEE_FIGURES,
        "/dashboard/cohorts/": Ability.SEE_FIGURES,
        "/dashboard/cohorts/?measure=logo&cohort=2026-01&period=1": Ability.SEE_FIGURES,
        "/dashboard/cohorts/?measure=gross_mrr&months=36": Ability.SEE_FIGURES,
        "/dashboard/cohorts/?measure=absolute&interval=quarter": Ability.SEE_FIGURES,
        "/dashboard/cohorts/?measure=arpa&interval=year&currency=usd": Ability.SEE_FIGURES,
        "/dashboard/retention/": Ability.SEE_FIGURES,
        "/dashboard/retention/?months=1&to=2026-03&by=owner": Ability.SEE_FIGURES,
        "/dashboard/retention/?months=3&to=2026-03&by=plan&currency=usd": Ability.SEE_FIGURES,
        "/dashboard/customers/": Ability.SEE_FIGURES,
        "/dashboard/customers/?q=acme&state=paying": Ability.SEE_FIGURES,
        **{f"{customer}?tab={tab}": Ability.SEE_FIGURES for tab in tabs},
        f"{customer}forget/": Ability.FORGET,
        "/dashboard/unmatched/": Ability.SEE_FIGURES,
        "/dashboard/unmatched/?tab=snoozed": Ability.SEE_FIGURES,
        "/dashboard/unmatched/?tab=mine": Ability.SEE_FIGURES,
        "/dashboard/unmatched/?tab=ignored": Ability.SEE_FIGURES,
        "/dashboard/unmatched/?tab=expected&score=0&age=7&order=age&currency=usd": Ability.SEE_FIGURES,
        f"/dashboard/unmatched/?customer={world.pk(world.beta)}&find=acme": Ability.SEE_FIGURES,
        f"/dashboard/unmatched/?customer={world.pk(world.beta)}&like=acme": Ability.SEE_FIGURES,
        "/dashboard/unmatched/bulk/": Ability.MATCH,
        "/dashboard/at-risk/": Ability.SEE_FIGURES,
        "/dashboard/unmatched/?tab=opportunities": Ability.SEE_FIGURES,
        "/dashboard/sync/": Ability.SEE_FIGURES,
        "/dashboard/sync/?tab=messages": Ability.SEE_FIGURES,
        "/dashboard/sync/?tab=drift": Ability.SEE_FIGURES,
        "/dashboard/sync/?tab=log": Ability.SEE_FIGURES,
        "/dashboard/sync/live/": Ability.CONNECT,
        "/dashboard/board/": Ability.SEE_FIGURES,
        "/dashboard/settings/summaries/": Ability.SUMMARISE,
        "/dashboard/board/?month=2026-03&months=24&currency=usd": Ability.SEE_FIGURES,
        "/dashboard/close/": Ability.SEE_FIGURES,
        "/dashboard/close/2026-01/": Ability.SEE_FIGURES,
        "/dashboard/close/2026-01/findings/": Ability.SEE_FIGURES,
        "/dashboard/close/2026-01/sign/": Ability.CLOSE,
        "/dashboard/events/": Ability.SEE_PEOPLE,
        f"/dashboard/events/{event}/": Ability.SEE_FIGURES,
        "/dashboard/health/": Ability.SEE_FIGURES,
        "/dashboard/health/findings/": Ability.SEE_PEOPLE,
        "/dashboard/health/findings/workers_silent/": Ability.SEE_PEOPLE,
        "/dashboard/health/acme/keys/": Ability.CONNECT,
        "/dashboard/help/": Ability.SEE_FIGURES,
        "/dashboard/help/bad_signature/": Ability.SEE_FIGURES,
        "/dashboard/imports/": Ability.IMPORT,
        "/dashboard/search/?q=acme": Ability.SEE_FIGURES,
        "/dashboard/setup/": Ability.CONNECT,
        "/dashboard/settings/": Ability.MANAGE_USERS,
        "/dashboard/settings/users/": Ability.MANAGE_USERS,
        "/dashboard/?format=csv": Ability.EXPORT,
        "/dashboard/movements/?format=xlsx": Ability.EXPORT,
        "/dashboard/cohorts/?format=csv": Ability.EXPORT,
        "/dashboard/retention/?format=xlsx": Ability.EXPORT,
        "/dashboard/customers/?format=csv": Ability.EXPORT,
        f"{customer}?format=csv": Ability.EXPORT,
        "/dashboard/unmatched/?format=csv": Ability.EXPORT,
        "/dashboard/at-risk/?format=csv": Ability.EXPORT,
    }


# ---- who may ----


@pytest.mark.parametrize("role", list(Role))
def test_each_page_is_open_to_exactly_the_roles_that_need_it(world: World, role: Role) -> None:
    from dashboard.roles import ABILITIES

    client = page_of(role)

    found = {path: client.get(path).status_code for path in paths(world)}

    assert found == {path: 200 if needed in ABILITIES[role] else 403 for path, needed in paths(world).items()}


def test_strangers_are_sent_to_the_login(world: World) -> None:
    person(Role.ADMIN)  # while nobody exists, the set-up page is open to whoever has the code

    for path in paths(world):
        answer = Client().get(path)
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/accounts/login/"), path


@pytest.mark.parametrize("role", list(Role))
def test_deciding_is_open_to_exactly_the_roles_that_need_it(world: World, role: Role) -> None:
    from dashboard.roles import ABILITIES

    client = page_of(role)
    record = SyncRecord.objects.first()
    event = StripeEvent.objects.first()
    posts = {
        "/dashboard/matches/": Ability.MATCH,
        "/dashboard/matches/1/delete/": Ability.MATCH,
        "/dashboard/snoozes/": Ability.MATCH,
        "/dashboard/waits/": Ability.MATCH,
        "/dashboard/ignores/": Ability.MATCH,
        "/dashboard/unmatched/back/snoozed/": Ability.MATCH,
        "/dashboard/unmatched/bulk/accept/": Ability.MATCH,
        "/dashboard/assignments/": Ability.ANNOTATE,
        "/dashboard/accounts/": Ability.MATCH,
        f"/dashboard/customers/{world.pk(world.beta)}/notes/": Ability.ANNOTATE,
        "/dashboard/choices/": Ability.MATCH,
        "/dashboard/imports/": Ability.IMPORT,
        "/dashboard/imports/1/apply/": Ability.IMPORT,
        "/dashboard/imports/1/undo/": Ability.IMPORT,
        "/dashboard/imports/1/delete/": Ability.IMPORT,
        "/dashboard/choices/1/delete/": Ability.MATCH,
        f"/dashboard/sync/{record.pk if record else 1}/retry/": Ability.RETRY,
        "/dashboard/sync/decisions/": Ability.RETRY,
        "/dashboard/sync/drift/": Ability.RETRY,
        "/dashboard/sync/checks/": Ability.RETRY,
        "/dashboard/sync/live/": Ability.CONNECT,
        "/dashboard/sync/live/compare/": Ability.CONNECT,
        "/dashboard/sync/shadow/": Ability.CONNECT,
        f"/dashboard/events/{event.stripe_id if event else ''}/process/": Ability.RETRY,
        f"/dashboard/events/{event.stripe_id if event else ''}/park/": Ability.RETRY,
        "/dashboard/health/findings/workers_silent/notes/": Ability.ANNOTATE,
        "/dashboard/close/rule/": Ability.CLOSE,
        "/dashboard/close/2026-01/sign/": Ability.CLOSE,
        "/dashboard/close/2026-01/reopening/": Ability.REOPEN,
        "/dashboard/health/events/": Ability.RETRY,
        "/dashboard/health/fetches/": Ability.RETRY,
        "/dashboard/health/acme/keys/replace/": Ability.CONNECT,
        "/dashboard/health/acme/secrets/": Ability.CONNECT,
        "/dashboard/health/acme/secrets/1/remove/": Ability.CONNECT,
    }

    refused = {path: client.post(path, {"customer": world.pk(world.beta)}).status_code == 403 for path in posts}

    assert refused == {path: needed not in ABILITIES[role] for path, needed in posts.items()}
    assert client.get("/dashboard/matches/").status_code in (403, 405)


# ---- what stays hidden ----


def test_a_viewer_sees_no_name_and_no_address_anywhere(world: World) -> None:
    viewer = page_of(Role.VIEWER)
    hidden = [*NAMES, "@", "Olga Owner", "Acme Rockets Inc", "Beta Bakery Ltd"]
    codes = [f"cus:{world.pk(world.acme)}:usd", "mrr:2026-03", "new:2026-02", "unmatched", _entry_code()]
    pages = [path for path, needed in paths(world).items() if needed is Ability.SEE_FIGURES]

    for path in [*pages, *(f"/dashboard/?explain={code}" for code in codes), "/dashboard/customers/?q=Beta"]:
        body = unescape(viewer.get(path).content.decode()).replace("viewer-person", "")
        found = [word for word in hidden if word in re.sub(r'"@[\w-]+"|@media', "", body)]
        assert found == [], f"{path} shows {found}"


def test_a_viewer_cannot_find_customers_by_name(world: World) -> None:
    viewer = page_of(Role.VIEWER)

    assert "No customer fits" in text_of(viewer.get("/dashboard/customers/?q=Beta"))
    assert world.beta.id in text_of(viewer.get(f"/dashboard/customers/?q={world.beta.id}"))
    assert "Beta Bakery" in text_of(page_of(Role.ANALYST).get("/dashboard/customers/?q=beta"))


def test_nothing_is_inline(world: World) -> None:
    admin = page_of(Role.ADMIN)

    for path in [*paths(world), "/dashboard/?explain=mrr:2026-03"]:
        answer = admin.get(path)
        if not answer["Content-Type"].startswith("text/html"):
            continue
        body = answer.content.decode()
        assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", body), path
        assert not re.search(r"<script(?![^>]*\b(src|type=\"application/json\"))", body), path


# ---- figures ----


def know_euros() -> None:
    """Keep rates of the euro that rise from 1.10 on New Year to 1.20 by now."""
    fx.pin(date(2026, 1, 1))
    days = [date(2026, 1, 1) + timedelta(days=at) for at in range(79)]
    fx.store(
        [
            Quote(day, "eur", "usd", "1.10" if day.month == 1 else "1.15" if day.month == 2 else "1.20", "manual")
            for day in days
        ]
    )


def test_the_overview_shows_the_months_figures(world: World) -> None:
    shown = text_of(page_of(Role.ANALYST).get("/dashboard/"))

    assert "MRR balance $73 .33" in shown  # 50 + 8.33 + 15
    assert "ARR balance $880 .00" in shown  # 12 times the exact MRR, not of what is shown
    assert "Net new MRR activity −$5 .00" in shown  # +15 − 20
    assert "Opening $78.33" not in shown
    assert "Opening + movements + FX = closing, exactly" in shown
    assert "Every month adds up, exactly" in shown
    assert "MRR is incomplete. Figures in USD leave out EUR" in shown


def test_all_currencies_are_one_once_their_rates_are_known(world: World) -> None:
    know_euros()
    client = page_of(Role.ANALYST)

    shown = text_of(client.get("/dashboard/"))
    months = text_of(client.get("/dashboard/movements/?period=quarter"))

    assert "MRR balance $121 .33" in shown  # 73.33 and 40 euros at 1.20
    assert "Opening + movements + FX = closing, exactly" in shown
    assert "incomplete" not in shown
    assert "all currencies in USD" in shown
    assert "FX" in months
    assert "+€40.00" in months
    panel = text_of(client.get("/dashboard/?explain=closing:2026-03", headers={"HX-Target": "explain"}))
    assert "9 entries in 2 currencies add up to $121.33, exactly" in panel
    assert "EUR, €40.00 × 1.2000 $48.00" in panel
    impact = text_of(client.get("/dashboard/?explain=fx:2026-03", headers={"HX-Target": "explain"}))
    assert "EUR, 1.1500 to 1.2000 +$2.00" in impact


def test_each_currency_stands_by_itself(world: World) -> None:
    client = page_of(Role.ANALYST)

    shown = text_of(client.get("/dashboard/?currency=eur"))
    dollars = text_of(client.get("/dashboard/?currency=usd"))

    assert "MRR balance €40 .00" in shown
    assert "MRR balance $73 .33" in dollars
    for text in (shown, dollars):
        assert "Opening + movements = closing, exactly" in text
        assert "incomplete" not in text


@pytest.mark.parametrize(
    ("path", "has_rates"),
    [
        ("/dashboard/", True),
        ("/dashboard/", False),
        ("/dashboard/?currency=eur", True),
        ("/dashboard/?from=2026-01&to=2026-02", True),
        ("/dashboard/movements/", False),
        ("/dashboard/movements/?currency=usd", True),
        ("/dashboard/cohorts/", True),
        ("/dashboard/retention/?months=1&to=2026-03", True),
        ("/dashboard/retention/?months=1&by=plan", True),
        ("/dashboard/retention/?months=1&to=2026-02&by=tenure&currency=usd", True),
        ("/dashboard/customers/", False),
        ("/dashboard/unmatched/", False),
        ("/dashboard/at-risk/", True),
    ],
)
def test_every_figure_opens_onto_what_adds_up_to_it(world: World, path: str, has_rates: bool) -> None:
    if has_rates:
        know_euros()
    client = page_of(Role.ANALYST)
    links = set(re.findall(r'class="fig[^"]*" href="([^"]+)" data-explain', client.get(path).content.decode()))
    assert links

    for link in links:
        address = path.split("?")[0] + unescape(link)
        panel = client.get(address, headers={"HX-Target": "explain"})
        body = panel.content.decode()
        assert panel.status_code == 200, address
        assert 'id="explain"' in body, address
        assert "<html" not in body, address
        assert "sumline-bad" not in body, address
        assert "sumline" in body or "Formula" in body, address


def test_a_figure_that_does_not_tie_says_so(world: World) -> None:
    from mrr.models import MonthRollup

    month = MonthRollup.objects.get(currency="usd", month="2026-03-01")
    month.reactivation_micros += 1_000_000_000
    month.save()
    client = page_of(Role.ANALYST)

    assert "Opening + movements + FX = closing does not hold: $10.00 less" in text_of(client.get("/dashboard/"))
    assert "= closing does not hold: $10.00 less" in text_of(client.get("/dashboard/?currency=usd"))
    panel = client.get("/dashboard/?explain=reactivation:2026-03", headers={"HX-Target": "explain"})
    assert "1 entry adds up to $15.00, $10.00 less than shown." in text_of(panel)


def test_an_opened_figure_is_a_page_too(world: World) -> None:
    answer = page_of(Role.ANALYST).get("/dashboard/?explain=net:2026-03")

    assert "<html" in answer.content.decode()
    assert "2 entries add up to −$5.00, exactly" in text_of(answer)


def test_an_entry_opens_onto_its_formula_and_event(world: World) -> None:
    entry = LedgerEntry.objects.get(type="expansion")
    panel = page_of(Role.ANALYST).get(f"/dashboard/?explain=entry:{entry.key}", headers={"HX-Target": "explain"})
    shown = text_of(panel)

    assert "1 line adds up to +$20.00, exactly" in shown or "1 line adds up to $20.00, exactly" in shown
    assert "$50.00 × 1 ÷ 1 month" in shown
    assert "$30.00 × 1 ÷ 1 month" in shown
    assert entry.event_ids[0] in shown


def test_an_unknown_figure_is_not_found(world: World) -> None:
    client = page_of(Role.ANALYST)

    assert client.get("/dashboard/?explain=nonsense").status_code == 404
    assert client.get("/dashboard/?explain=entry:mle_none").status_code == 404
    assert client.get("/dashboard/?explain=new:2026-99").status_code == 400


def test_the_heat_map_and_its_cell_tie(world: World) -> None:
    shown = text_of(page_of(Role.ANALYST).get("/dashboard/cohorts/?cohort=2026-01&period=1"))

    assert "Jan 2026 cohort, month 1: 116.7%" in shown  # 70 of 60 acquired: 50 + 20 + 0
    assert "2 of 3 customers pay at 28 Feb 2026" in shown
    assert "Adds up, exactly" in shown


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("interval=quarter&measure=net_mrr", "Jan – Mar 2026 cohort, quarter 0: 107.3%"),
        ("interval=quarter&measure=logo", "Jan – Mar 2026 cohort, quarter 0: 75.0%"),
        ("interval=year&measure=absolute", "2026 cohort, year 0: $73.33"),
        ("interval=year&measure=arpa", "2026 cohort, year 0: $24.44"),
    ],
)
def test_a_cell_of_quarters_and_years_ties(world: World, query: str, title: str) -> None:
    address = f"/dashboard/cohorts/?currency=usd&cohort=2026-01&period=0&{query}"
    shown = text_of(page_of(Role.ANALYST).get(address))

    assert title in shown
    assert "$73.33 of $68.33 acquired · 3 of 4 customers pay" in shown
    assert "Adds up, exactly" in shown


def test_retention_says_what_was_kept_and_whom_it_lost(world: World) -> None:
    shown = text_of(page_of(Role.ANALYST).get("/dashboard/retention/?months=1&to=2026-03&currency=usd"))

    # $50.00, $8.33 and $20.00 at the start; the $20.00 left by a decision, Back Again had left before.
    assert "NRR 74.5%, GRR 74.5% over 1 month to Mar 2026" in shown
    assert "3 customers paid at the start of Mar 2026, 1 pays nothing now" in shown
    assert "Churn by reason: −$20.00" in shown
    assert "Gone Fishing Mar 2026 Canceled" in shown
    assert "Customers lost = churn of the period, exactly" in shown
    assert "Start + changes = end, exactly" in shown


def test_losses_that_miss_the_churn_say_so(world: World) -> None:
    Loss.objects.filter(currency="usd", month="2026-03-01").update(start_1=10**15)

    shown = text_of(page_of(Role.ANALYST).get("/dashboard/retention/?months=1&to=2026-03&currency=usd"))

    assert "Customers lost = churn of the period, exactly" not in shown
    assert "Churn by reason: −$20.00" in shown


def test_retention_is_equal_on_page_export_and_api(world: World) -> None:
    know_euros()
    client = page_of(Role.ANALYST)
    address = "/dashboard/retention/?months=3&to=2026-03&by=plan"
    exported = b"".join(client.get(f"{address}&format=csv").streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(exported)))

    told = client.get("/api/v1/retention?months=3&to=2026-03&by=plan").json()

    (period,) = told["periods"]
    exact = next(row for row in rows if row["row"] == "period" and row["last_month"] == "2026-03-01")
    for name in ("start", "expansion", "contraction", "churn", "end"):
        assert int(exact[f"{name}_micros"]) == period[f"{name}_micros"]
        assert int(exact[f"{name}_minor"]) == period[f"{name}_minor"]
    groups = {row["group"]: int(row["churn_micros"]) for row in rows if row["row"] == "churn by plan"}
    assert groups == {group["name"]: group["churn_micros"] for group in told["churn"]}
    assert sum(groups.values()) == period["churn_micros"]


def test_a_customer_page_equals_the_ledger(world: World) -> None:
    shown = text_of(page_of(Role.ANALYST).get(f"/dashboard/customers/{world.pk(world.beta)}/"))

    assert "Equals the ledger, exactly" in shown
    assert "$100.00 × 1 ÷ 12 months" in shown
    assert "MRR $8.33 ARR $100.00" in shown


# ---- test mode ----


def test_test_data_is_in_no_total_and_carries_a_band(world: World) -> None:
    trial = Scenario("acme-test", livemode=False)
    story = trial.customer("Acme Rockets", on="2026-03-01")
    story.subscribes("Team", monthly="999.00", on="2026-03-01")
    client = page_of(Role.ANALYST)

    live, test = client.get("/dashboard/"), client.get("/dashboard/?source=acme-test")

    assert "MRR balance $73 .33" in text_of(live)
    assert "band-test" not in live.content.decode()
    assert "MRR balance $999 .00" in text_of(test)
    assert "Test data. Source acme-test." in text_of(test)
    assert "999" not in text_of(client.get("/dashboard/movements/"))
    assert client.get("/dashboard/?source=nowhere").status_code == 400


# ---- sync and events ----


def test_the_sync_page_shows_what_would_be_sent_field_by_field(world: World) -> None:
    shown = text_of(page_of(Role.ANALYST).get("/dashboard/sync/?kind=account"))

    assert "Shadow. Nothing is written to Salesforce." in shown
    assert "Acme Rockets Inc Account" in shown
    assert "MRR__c" in shown and "50.000000" in shown


def test_a_refused_record_is_tried_again_by_a_button(world: World) -> None:
    record = SyncRecord.objects.filter(kind="account").get()
    SyncRecord.objects.filter(pk=record.pk).update(
        state="parked", error_code="INVALID_FIELD", error="Our user may not edit MRR__c on Account."
    )
    client = page_of(Role.REVOPS)
    shown = text_of(client.get("/dashboard/sync/"))
    assert "Refused, parked" in shown and "Our user may not edit MRR__c" in shown and "INVALID_FIELD" in shown

    client.post(f"/dashboard/sync/{record.pk}/retry/")

    record.refresh_from_db()
    assert (record.state, record.error_code) == ("waiting", "")


def test_a_parked_event_says_why_and_is_processed_again_by_a_button(world: World) -> None:
    event = StripeEvent.objects.order_by("-pk").first()
    assert event is not None
    StripeEvent.objects.filter(pk=event.pk).update(state="parked", reason="failed", error="ValueError: no")
    client = page_of(Role.REVOPS)
    address = f"/dashboard/events/{event.stripe_id}/"

    shown = text_of(client.get(address))
    assert "This event is parked: It failed each time." in shown and "ValueError: no" in shown
    assert "MRR is incomplete. 1 event is parked" in text_of(client.get("/dashboard/"))

    client.post(f"{address}process/?source=acme")

    event.refresh_from_db()
    assert (event.state, event.attempts) == ("waiting", 0)


def test_an_event_shows_its_payload_to_those_who_may_see_people(world: World) -> None:
    event = StripeEvent.objects.filter(type="customer.created").first()
    address = f"/dashboard/events/{event.stripe_id}/"  # type: ignore[union-attr]

    assert "pay@acme-rockets.example" in page_of(Role.ANALYST).get(address).content.decode()
    assert "The payload is hidden for your role" in text_of(page_of(Role.VIEWER).get(address))


# ---- exports ----


def test_the_export_of_movements_holds_what_the_page_shows(world: World) -> None:
    answer = page_of(Role.FINANCE).get("/dashboard/movements/?period=quarter&currency=usd&format=csv")

    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]
    assert [(row["type"], row["amount"]) for row in rows] == [
        ("new", "20.00"),
        ("new", "30.00"),
        ("new", "10.00"),
        ("expansion", "20.00"),
        ("new", "8.33"),
        ("churn", "-10.00"),
        ("reactivation", "15.00"),
        ("churn", "-20.00"),
    ]
    assert sum(int(row["amount_micros"]) for row in rows) == 7_333_333_333


def test_a_name_that_is_a_formula_is_disarmed_in_exports(world: World) -> None:
    Customer.objects.filter(pk=world.pk(world.acme)).update(name='=cmd|"/c calc"!A1')

    answer = page_of(Role.ANALYST).get("/dashboard/customers/?format=csv")

    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]
    assert '\'=cmd|"/c calc"!A1' in [row["name"] for row in rows]


# ---- parameters ----


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/?period=decade",
        "/dashboard/?from=2026-13",
        "/dashboard/?from=2026-03&to=2026-01",
        "/dashboard/?from=2030-01",
        "/dashboard/?currency=xxx",
        "/dashboard/?format=pdf",
        "/dashboard/movements/?type=luck",
        "/dashboard/movements/?after=yesterday",
        "/dashboard/cohorts/?measure=mood",
        "/dashboard/cohorts/?months=13",
        "/dashboard/cohorts/?interval=week",
        "/dashboard/retention/?months=2",
        "/dashboard/retention/?to=2030-01",
        "/dashboard/retention/?by=mood",
        "/dashboard/customers/?state=happy",
        "/dashboard/customers/?after=1.2",
        "/dashboard/unmatched/?reason=none",
        "/dashboard/at-risk/?severity=mild",
        "/dashboard/sync/?state=lost",
        "/dashboard/events/?state=lost",
        "/dashboard/events/?before=x",
    ],
)
def test_a_parameter_that_means_nothing_is_refused(world: World, path: str) -> None:
    assert page_of(Role.ANALYST).get(path).status_code == 400


def test_what_is_not_there_is_not_found(world: World) -> None:
    client = page_of(Role.ANALYST)

    assert client.get("/dashboard/customers/999999/").status_code == 404
    assert client.get("/dashboard/events/evt_none/").status_code == 404


def test_the_export_of_all_currencies_says_what_each_entry_comes_to(world: World) -> None:
    know_euros()
    answer = page_of(Role.FINANCE).get("/dashboard/movements/?period=quarter&format=csv")

    rows = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))  # type: ignore[attr-defined]
    (euro,) = (row for row in rows if row["currency"] == "eur")
    assert (euro["amount"], euro["reporting_currency"], euro["reporting_micros"]) == ("40.00", "usd", "4600000000")
    assert all(row["amount_micros"] == row["reporting_micros"] for row in rows if row["currency"] == "usd")


def test_movements_are_paged_both_ways(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.pages.movements.PAGE_SIZE", 3)
    client, seen, address = page_of(Role.ANALYST), [], "/dashboard/movements/?period=quarter&currency=usd"
    for _ in range(3):
        body = client.get(address).content.decode()
        seen += re.findall(r'data-explain="(entry:[^"]+)"', body.split('id="entries"')[1])
        following = re.search(r'href="([^"]+)" rel="next"', body)
        if not following:
            break
        address = "/dashboard/movements/" + unescape(following[1])

    assert len(seen) == len(set(seen)) == 8
    assert 'rel="prev">Earlier page' in body or "Earlier page" in body


# ---- cost ----


def test_the_overview_costs_at_most_twenty_queries_whatever_the_data(world: World) -> None:
    client = page_of(Role.ANALYST)
    client.get("/dashboard/")
    with CaptureQueriesContext(connection) as few:
        client.get("/dashboard/")
    for number in range(8):
        story = world.customer(f"More {number}", on="2026-03-01", email=f"more{number}@many.example")
        story.subscribes("Team", monthly="12.00", on="2026-03-01", currency=("usd", "eur", "gbp")[number % 3])
    CustomerRisk.objects.update_or_create(
        customer_id=world.pk(world.acme),
        defaults={"score": 85, "severity": "high", "payment_severity": "high", "assessed_at": NOW},
    )
    SyncRecord.objects.filter(kind="account").update(state="parked", error_code="INVALID_FIELD")

    with CaptureQueriesContext(connection) as many:
        client.get("/dashboard/")

    assert len(many) == len(few) <= 20


def test_no_page_costs_more_than_its_queries(world: World) -> None:
    client = page_of(Role.ADMIN)
    client.get("/dashboard/")

    for path in paths(world):
        with CaptureQueriesContext(connection) as found:
            client.get(path)
        most = 50 if path.startswith("/dashboard/health/") or "/findings/" in path else 20  # these ask every part
        most = 21 if path.startswith("/dashboard/customers/") else most  # and here, to whom it may be assigned
        assert len(found) <= most, f"{path}: {len(found)} queries"


# ---- an empty install ----


@pytest.fixture
def code(db: None) -> str:
    SetupCode.objects.create(digest=hashlib.sha256(b"open sesame").hexdigest(), created_at=NOW)
    return "open sesame"


ACCOUNT = {
    "username": "maya",
    "email": "maya@acme.example",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
}


def test_an_empty_install_opens_with_the_code_alone(code: str) -> None:
    client = Client()

    assert "Whoever started the server finds a code" in text_of(client.get("/dashboard/setup/"))
    assert client.get("/dashboard/setup/?code=wrong").status_code == 403
    assert "The first account" in text_of(client.get(f"/dashboard/setup/?code={code}"))
    assert client.post("/dashboard/setup/", {**ACCOUNT, "code": "wrong"}).status_code == 403
    assert not get_user_model().objects.exists()


def test_the_first_account_uses_the_code_up(code: str) -> None:
    client = Client()

    answer = client.post("/dashboard/setup/", {**ACCOUNT, "code": code}, follow=True)

    assert "Add the first Stripe source" in text_of(answer)
    maya = get_user_model().objects.get()
    assert (maya.username, maya.is_superuser) == ("maya", True)
    assert Client().get(f"/dashboard/setup/?code={code}")["Location"].startswith("/accounts/login/")
    assert SetupCode.objects.get().used_at is not None


def test_a_weak_or_mistyped_password_is_named_at_its_field(code: str) -> None:
    client = Client()

    differs = client.post("/dashboard/setup/", {**ACCOUNT, "code": code, "password2": "another horse"})
    weak = client.post("/dashboard/setup/", {**ACCOUNT, "code": code, "password1": "12345", "password2": "12345"})

    assert "The two passwords differ." in text_of(differs)
    assert 'aria-invalid="true"' in weak.content.decode()
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize(
    "path",
    ["", "movements/", "cohorts/", "retention/", "customers/", "unmatched/", "at-risk/", "sync/", "events/"],
)
def test_every_page_stands_before_the_first_event(db: None, path: str) -> None:
    answer = page_of(Role.ANALYST).get(f"/dashboard/{path}")

    assert answer.status_code == 200
    if not path:
        assert "No Stripe account is connected yet" in text_of(answer)


def _entry_code() -> str:
    return f"entry:{LedgerEntry.objects.order_by('pk').first().key}"  # type: ignore[union-attr]
