"""The API asked for whatever its description allows, and for much else: it answers as described, never with a 500."""

from __future__ import annotations

import json
from functools import cache
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from dashboard.api.urls import v1
from dashboard.roles import Role
from tests.dashboard.people import api
from tests.mrr.books import Books
from tests.mrr.histories import Subscription, item, state

pytestmark = pytest.mark.django_db
UNDESCRIBED = {405, 406, 415}  # of HTTP itself, not of one route


@cache
def operations():
    described = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(public=True))
    return [found.ok() for found in described.get_all_operations()]


@pytest.fixture
def asked():
    """A client that may do all that a role may, and a ledger that is not empty."""
    Books().customer("cus_a", Subscription("sub_a").says("2026-01-10", state(item(3000))))
    return api(Role.REVOPS)


def test_every_route_is_tried():
    assert len(operations()) == len(v1)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("place", range(len(v1)))
def test_every_route_answers_as_described(asked, place, mode):
    operation = operations()[place]
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
        return  # any text is a good id, so there is nothing wrong to send
    statuses = {int(status) for status in operation.definition.raw["responses"]}

    @settings(max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def try_it(case):
        answer = ask(asked, case)
        assert answer.status_code in statuses | UNDESCRIBED, (answer.status_code, answer.content)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) >= {"code", "message", "field"}

    try_it()


def ask(client, case):
    path = case.path
    for name, value in (case.path_parameters or {}).items():
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    query = urlencode(case.query or {}, doseq=True)
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body, default=str).encode()
    return client.generic(case.method, f"{path}?{query}", body, content_type="application/json")
