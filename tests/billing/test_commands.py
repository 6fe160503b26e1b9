"""The commands that add sources, load events and rotate secrets."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from billing import inbox
from billing.models import Origin, SigningSecret, StripeEvent, StripeSource
from tests import builders
from tests.billing.conftest import NOW
from tests.builders import event

pytestmark = pytest.mark.django_db

WHSEC = "whsec_abcdefgh1234"


@pytest.fixture
def run(capsys) -> Any:
    """Run a command; returns its result (the last line of standard output), its exit code and its standard error."""

    def _run(*args: str) -> tuple[dict[str, Any], int, str]:
        capsys.readouterr()
        code = 0
        try:
            call_command(*args)
        except CommandError as error:
            return {}, error.returncode, str(error)
        except SystemExit as left:
            code = int(left.code or 0)
        told = capsys.readouterr()
        return json.loads(told.out.splitlines()[-1]), code, told.err

    return _run


# ---- add_source ----


def test_a_source_is_added_and_its_secrets_are_not_shown(run):
    result, code, told = run(
        "add_source", "acme", "--label", "Acme", "--signing-secret", WHSEC, "--api-key", "rk_live_12345"
    )

    assert code == 0
    assert result == {
        "slug": "acme",
        "label": "Acme",
        "mode": "live",
        "created": True,
        "webhook_url": "http://127.0.0.1:8000/webhooks/stripe/acme/",
        "signing_secrets": ["1234"],
        "api_key": "…2345",
        "account": None,
        "history_from": None,
    }
    assert "given in clear" in told
    assert WHSEC not in json.dumps(result) + told
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM billing_signingsecret")
        assert WHSEC not in cursor.fetchone()[0]
    assert SigningSecret.objects.get().secret == WHSEC


def test_a_secret_comes_from_standard_input_or_a_variable_without_a_warning(run, monkeypatch):
    monkeypatch.setenv("STRIPE_WHSEC", WHSEC)
    monkeypatch.setattr("sys.stdin", io.StringIO("whsec_from_stdin_5678\n"))

    result, _, told = run(
        "add_source", "acme", "--label", "A", "--signing-secret", "env:STRIPE_WHSEC", "--signing-secret", "-"
    )

    assert result["signing_secrets"] == ["1234", "5678"]
    assert told == ""


def test_adding_again_changes_what_is_given_and_keeps_the_rest(run):
    run("add_source", "acme", "--label", "Acme", "--signing-secret", WHSEC, "--test-mode")

    result, _, _ = run("add_source", "acme", "--signing-secret", "whsec_new_new_5678", "--history-from", "2025-01-01")

    assert result["created"] is False
    assert (result["label"], result["mode"], result["history_from"]) == ("Acme", "test", "2025-01-01")
    assert result["signing_secrets"] == ["1234", "5678"]
    result, _, _ = run("add_source", "acme", "--remove-signing-secret", "1234", "--account", "acct_1")
    assert (result["signing_secrets"], result["account"]) == (["5678"], "acct_1")


def test_the_mode_changes_only_while_there_are_no_events(run, source):
    assert run("add_source", "acme", "--live-mode")[0]["mode"] == "live"
    assert run("add_source", "acme", "--test-mode")[0]["mode"] == "test"
    inbox.keep(source, lines(event("customer.created", builders.customer())), origin=Origin.WEBHOOK, now=NOW)

    _, code, told = run("add_source", "acme", "--live-mode")

    assert code == 2
    assert "cannot change once it has events" in told


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["acme"], "needs a label"),
        (["no such", "--label", "A"], "letters, digits"),
        (["acme", "--label", "A", "--signing-secret", "rk_live_123456789"], "This is an API key."),
        (["acme", "--label", "A", "--signing-secret", "secret"], "starts with whsec_"),
        (["acme", "--label", "A", "--signing-secret", "env:NOT_SET_ANYWHERE"], "is empty"),
        (["acme", "--label", "A", "--api-key", "sk_live_123456"], "can move money"),
        (["acme", "--label", "A", "--api-key", "rk_test_123456"], "not of the source's mode"),
        (["acme", "--label", "A", "--api-key", "pk_live_123456"], "starts with rk_live_"),
        (["acme", "--label", "A", "--account", "1234"], "starts with acct_"),
        (["acme", "--label", "A", "--remove-signing-secret", "9999"], "no signing secret that ends in 9999"),
    ],
)
def test_wrong_use_is_exit_code_2_and_leaves_nothing(run, args, said):
    _, code, told = run("add_source", *args)

    assert code == 2
    assert said in told
    assert not StripeSource.objects.exists()
    assert "123456" not in told


def test_a_full_secret_key_needs_insisting(run):
    result, code, _ = run("add_source", "acme", "--label", "A", "--api-key", "sk_live_9876", "--allow-secret-key")

    assert (code, result["api_key"]) == (0, "…9876")


# ---- load_events ----


def lines(*events: Any) -> bytes:
    return b"".join(json.dumps(told).encode() + b"\n" for told in events)


def test_events_are_kept_parked_or_named_and_the_exit_code_says_so(run, source, tmp_path):
    good = [event("customer.created", builders.customer(f"cus_{n}")) for n in range(3)]
    live = good[0] | {"id": "evt_live", "livemode": True}
    connect = good[0] | {"id": "evt_connect", "account": "acct_1"}
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(*good, live) + b"not json\n\n" + lines(connect, good[0]) + b'["x"]')

    result, code, told = run("load_events", "acme", str(file))

    assert result == {"read": 8, "kept": 5, "already": 1, "parked": 2, "rejected": 2}
    assert code == 1
    assert "Line 5: The body is not JSON" in told
    assert "Line 9: The body is JSON, but not an object" in told
    assert set(StripeEvent.objects.values_list("origin", flat=True)) == {"loaded"}
    assert dict(StripeEvent.objects.exclude(reason="").values_list("stripe_id", "reason")) == {
        "evt_live": "wrong_mode",
        "evt_connect": "wrong_account",
    }


def test_loading_twice_keeps_nothing_new(run, source, tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_bytes(lines(*[event("customer.created", builders.customer(f"cus_{n}")) for n in range(450)]))

    first, again = run("load_events", "acme", str(file)), run("load_events", "acme", str(file))

    assert first[:2] == ({"read": 450, "kept": 450, "already": 0, "parked": 0, "rejected": 0}, 0)
    assert again[:2] == ({"read": 450, "kept": 0, "already": 450, "parked": 0, "rejected": 0}, 0)


def test_events_come_from_standard_input_too(run, source, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(lines(event("customer.created", builders.customer())))

    monkeypatch.setattr("sys.stdin", Stdin)

    assert run("load_events", "acme", "-")[0]["kept"] == 1


def test_a_line_that_is_too_long_is_named_and_the_next_one_kept(run, source, tmp_path):
    file = tmp_path / "events.jsonl"
    long = b'{"id": "evt_long", "x": "' + b"x" * (3 * 1024 * 1024) + b'"}\n'
    file.write_bytes(long + lines(event("customer.created", builders.customer())))

    result, code, told = run("load_events", "acme", str(file))

    assert (result["kept"], result["rejected"], code) == (1, 1, 1)
    assert "Line 1: It is longer than 1 MiB." in told


@pytest.mark.parametrize(("slug", "file"), [("nobody", "-"), ("acme", "/no/such/file")])
def test_what_is_not_there_is_wrong_use(run, source, slug, file):
    assert run("load_events", slug, file)[1] == 2


# ---- rotate_secrets ----


def test_secrets_are_encrypted_anew_with_the_newest_key(run, source, settings):
    source.api_key = "rk_test_12345"
    source.save()
    old, new = settings.FIELD_ENCRYPTION_KEYS[0], Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, old]

    assert run("rotate_secrets")[:2] == ({"rotated": 2, "unreadable": 0}, 0)

    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert SigningSecret.objects.get().secret == builders.SECRET
    assert StripeSource.objects.get().api_key == "rk_test_12345"


def test_a_secret_that_no_key_reads_is_named_and_left(run, source, settings):
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    result, code, told = run("rotate_secrets")

    assert (result, code) == ({"rotated": 0, "unreadable": 1}, 1)
    assert "cannot be read" in told
