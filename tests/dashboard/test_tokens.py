"""API tokens: kept as a digest, expiring, within a role; and the command that makes them."""

import json
from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from dashboard.api import tokens
from dashboard.models import ApiToken
from dashboard.roles import Ability, Role
from tests.dashboard.people import api, person

pytestmark = pytest.mark.django_db


def status(client, path="/api/v1/mrr"):
    return client.get(path).status_code


def with_header(text):
    return Client(headers={"authorization": text})


# ---- using one ----


def test_a_token_lets_in_and_is_kept_as_a_digest():
    made = tokens.make(person(Role.ANALYST), Role.ANALYST, days=1, now=timezone.now())

    assert status(with_header(f"Token {made.text}")) == 200
    kept = ApiToken.objects.get()
    assert kept.digest == tokens.digest(made.text) and len(kept.digest) == 64
    assert made.text not in str(ApiToken.objects.values())
    assert kept.last4 == made.text[-4:]


@pytest.mark.parametrize("header", ["Token unknown", "Token", "Token a b", "Token \u00e4\u00f6", "token   "])
def test_a_token_that_is_not_known_is_refused(header):
    answer = with_header(header.encode().decode("latin-1")).get("/api/v1/mrr")

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "bad_token"
    assert answer["WWW-Authenticate"] == "Token"


def test_no_token_and_no_session_is_a_401():
    answer = Client().get("/api/v1/mrr")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    assert with_header("Bearer something").get("/api/v1/mrr").status_code == 401


def test_a_token_expires():
    made = tokens.make(person(Role.ANALYST), Role.ANALYST, days=30, now=timezone.now())
    client = with_header(f"Token {made.text}")

    with time_machine.travel(made.expires_at - timedelta(seconds=5), tick=False):
        assert status(client) == 200
    with time_machine.travel(made.expires_at, tick=False):
        answer = client.get("/api/v1/mrr")

    assert answer.status_code == 401
    assert "expired" in answer.json()["error"]["message"]


def test_a_token_of_somebody_who_left_is_refused():
    user = person(Role.ANALYST)
    client = api(Role.ANALYST, user=user)
    user.is_active = False
    user.save()

    assert status(client) == 401


def test_a_session_works_too_and_a_change_needs_its_csrf_token():
    client = Client(enforce_csrf_checks=True)
    client.force_login(person(Role.REVOPS))

    refused = client.post("/api/v1/matches", {}, content_type="application/json")

    assert status(client) == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed")


def test_use_is_noted_at_most_once_a_minute():
    client = api(Role.VIEWER)
    begin = timezone.now()

    def used_at():
        return ApiToken.objects.get().last_used_at

    with time_machine.travel(begin, tick=False):
        client.get("/api/v1/nothing-here")
        assert used_at() is None  # an unknown address asks for nobody
        client.get("/api/v1/sync")
        first = used_at()
    with time_machine.travel(begin + timedelta(seconds=59), tick=False):
        client.get("/api/v1/sync")
        assert used_at() == first
    with time_machine.travel(begin + timedelta(seconds=61), tick=False):
        client.get("/api/v1/sync")
        assert used_at() > first


def test_a_token_can_only_take_abilities_away():
    user = person(Role.REVOPS)
    as_viewer = api(Role.REVOPS, user=user, token_role=Role.VIEWER)

    assert status(as_viewer) == 200
    assert as_viewer.post("/api/v1/matches", {}, content_type="application/json").status_code == 403
    user.groups.clear()
    assert status(as_viewer) == 403


def test_a_token_cannot_be_made_beyond_its_user():
    user = person(Role.ANALYST)

    with pytest.raises(tokens.RoleTooHigh) as refused:
        tokens.make(user, Role.REVOPS, days=1, now=timezone.now())

    assert Ability.MATCH.value in str(refused.value)
    assert not ApiToken.objects.exists()


# ---- the command ----


def create(*words):
    out = StringIO()
    call_command("create_api_token", *words, stdout=out, stderr=StringIO())
    return json.loads(out.getvalue().splitlines()[-1])


def test_the_command_makes_a_user_with_the_role():
    made = create("warehouse", "--role", "analyst")

    user = get_user_model().objects.get(username="warehouse")
    assert set(made) == {"username", "role", "token", "expires"}
    assert (made["username"], made["role"]) == ("warehouse", "analyst")
    assert [group.name for group in user.groups.all()] == ["analyst"]
    assert not user.has_usable_password()
    assert status(with_header(f"Token {made['token']}")) == 200


def test_a_new_user_is_a_viewer_unless_told_otherwise():
    assert create("somebody")["role"] == "viewer"


def test_each_call_makes_another_token_and_no_other_user():
    first, second = create("warehouse", "--role", "analyst"), create("warehouse")

    assert first["token"] != second["token"]
    assert second["role"] == "analyst"
    assert ApiToken.objects.filter(user__username="warehouse").count() == 2


def test_an_existing_role_is_neither_changed_nor_exceeded():
    user = person(Role.ANALYST, "ana")

    assert create("ana", "--role", "viewer")["role"] == "viewer"
    with pytest.raises(CommandError) as refused:
        create("ana", "--role", "admin")

    assert refused.value.returncode == 2
    assert [group.name for group in user.groups.all()] == ["analyst"]


def test_a_superuser_gets_the_admin_role():
    get_user_model().objects.create_superuser("root", password="a long enough password")

    assert create("root")["role"] == "admin"
    assert create("root", "--role", "finance")["role"] == "finance"


def test_the_days_are_the_caller_s_choice():
    made = create("warehouse", "--days", "7")

    left = ApiToken.objects.get().expires_at - timezone.now()
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    assert made["expires"].endswith("Z")


@pytest.mark.parametrize(
    "words",
    [("x", "--days", "0"), ("x", "--days", "99999"), ("not a name!", "--role", "viewer"), ("u" * 200,)],
)
def test_wrong_use_makes_nothing(words):
    with pytest.raises(CommandError) as refused:
        create(*words)

    assert refused.value.returncode == 2
    assert not ApiToken.objects.exists() and not get_user_model().objects.exists()


def test_who_has_no_role_or_left_gets_no_token():
    get_user_model().objects.create_user("nobody")
    person(Role.ADMIN, "gone")
    get_user_model().objects.filter(username="gone").update(is_active=False)

    for username in ("nobody", "gone"):
        with pytest.raises(CommandError) as refused:
            create(username)
        assert refused.value.returncode == 2
