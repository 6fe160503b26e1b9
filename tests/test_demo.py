"""The demo as a newcomer runs it, its figures compared with a script that shares no code with the product."""

from __future__ import annotations

import http.cookiejar
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mrr.engine.money import exponent, to_micros
from tests import independent_mrr
from tests.installations import answers, free_port, reported, start, wait_until
from tests.mrr.formulas import computed

CUSTOMERS, MONTHS = 70, 16
pytestmark = pytest.mark.slow

Get = Callable[[str], Any]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, installed: Any) -> Iterator[dict[str, str]]:
    with installed(tmp_path_factory.mktemp("demo"), is_new=True) as found:
        yield found


@pytest.fixture(scope="module")
def made(environment: dict[str, str]) -> dict[str, Any]:
    return reported(environment, "demo", "--no-serve", "--customers", str(CUSTOMERS), "--months", str(MONTHS))


@pytest.fixture(scope="module")
def address(environment: dict[str, str], made: dict[str, Any]) -> Any:
    """Start the demo a second time: it only serves."""
    port = free_port()
    process = start(environment, "demo", "--bind", f"127.0.0.1:{port}")
    try:
        wait_until(lambda: process.poll() is not None or answers(port), 120)
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=15)


@pytest.fixture(scope="module")
def get(environment: dict[str, str], address: str) -> Get:
    token = reported(environment, "create_api_token", "analyst", "--role", "analyst")["token"]

    def call(path: str) -> Any:
        request = urllib.request.Request(f"{address}/api/v1/{path}", headers={"Authorization": f"Token {token}"})
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.load(answer)

    return call


@pytest.fixture(scope="module")
def expected(environment: dict[str, str], made: dict[str, Any]) -> dict[str, Any]:
    return independent_mrr.report(Path(environment["DATA_DIR"]) / "demo", int(time.time()))


def test_nothing_is_parked_and_a_few_wait_for_a_match(made: dict[str, Any], get: Get) -> None:
    unmatched = get("unmatched")["results"]

    assert made["parked"] == 0
    assert get("sync")["events"] | {"processed": 0} == {"waiting": 0, "processed": 0, "ignored": 0, "parked": 0}
    assert 4 <= len(unmatched) <= 40
    assert len({row["reason"] for row in unmatched}) >= 4
    assert get("at-risk")["results"]


def test_mrr_and_arr_are_what_the_event_files_say(get: Get, expected: dict[str, Any]) -> None:
    at = datetime.now(UTC).date().isoformat()

    found = {row["currency"]: row for row in get(f"mrr?at={at}")["currencies"]}

    for currency, books in expected["currencies"].items():
        assert found[currency]["mrr_micros"] == books["mrr_micros"]
        assert found[currency]["arr_micros"] == books["arr_micros"]
        assert found[currency]["customers"] == books["customers"]


def test_twelve_months_of_movements_are_what_the_event_files_say(get: Get, expected: dict[str, Any]) -> None:
    for currency, books in expected["currencies"].items():
        first, last = books["months"][0]["month"], books["months"][-1]["month"]
        months = get(f"mrr/series?from={first}&to={last}&currency={currency}&view=event")["months"]
        found = [
            {"month": row["month"], **{kind: row[f"{kind}_micros"] for kind in ("opening", *independent_mrr.KINDS)}}
            for row in months
        ]

        assert found == [{key: value for key, value in row.items() if key != "closing"} for row in books["months"]]
        assert [row["closing_micros"] for row in months] == [row["closing"] for row in books["months"]]


def test_every_entry_s_printed_formula_comes_to_the_entry(get: Get) -> None:
    rows = get("movements?limit=1000&all=1")["results"]
    assert len(rows) > CUSTOMERS

    for row in rows:
        found = get(f"movements/{row['id']}/explain")
        lines = [computed_micros(line["after"], row) - computed_micros(line["before"], row) for line in found["lines"]]
        sign = -1 if row["reverses"] else 1
        assert [sign * micros for micros in lines] == [line["amount_micros"] for line in found["lines"]]
        assert sign * sum(lines) == row["amount_micros"]
        assert [event["id"] for event in found["events"]] == row["event_ids"]


def test_under_other_rules_the_causes_add_up_and_nothing_is_written(environment: dict[str, str], made: Any) -> None:
    before = reported(environment, "check_ledger")["fingerprint"]

    same = reported(environment, "what_if", "--preset", "ours")
    other = reported(environment, "what_if", "--preset", "stripe")

    assert {row["difference_micros"] for row in same["currencies"]} == {0}
    months = [month for row in other["currencies"] for month in row["months"]]
    assert any(month["difference_micros"] for month in months)
    for month in months:
        assert sum(month["causes_micros"].values()) == month["difference_micros"]
    assert float(other["seconds"]) < 5
    assert reported(environment, "check_ledger")["fingerprint"] == before


def test_the_page_shows_the_same_figure(address: str, made: dict[str, Any], expected: dict[str, Any]) -> None:
    people = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    form = people.open(f"{address}/accounts/login/").read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    assert token
    sent = {"csrfmiddlewaretoken": token[1], "login": "analyst", "password": made["password"]}

    people.open(f"{address}/accounts/login/", urllib.parse.urlencode(sent).encode()).read()
    page = people.open(f"{address}/dashboard/?currency=usd").read().decode()

    shown = round(expected["currencies"]["usd"]["mrr_micros"] / 1_000_000)
    text = re.sub(r"<[^>]+>", "", page)
    assert f"${shown // 100:,}.{shown % 100:02d}" in re.sub(r"\s+", "", text)


def computed_micros(side: dict[str, Any] | None, row: dict[str, Any]) -> int:
    return 0 if side is None else to_micros(computed(side["formula"]) * 10 ** exponent(row["currency"]))
