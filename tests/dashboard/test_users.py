"""Users: invited by a link that works once, given one role, switched off with everything they held."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core import mail
from django.test import Client
from django.utils import timezone

from dashboard import people
from dashboard.api import tokens
from dashboard.roles import Role
from tests.dashboard.people import api, person
from tests.dashboard.test_pages import page_of, text_of

URL = "/dashboard/settings/users/"
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    return page_of(Role.ADMIN)


@pytest.fixture
def no_mail(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"


def user(name: str) -> Any:
    return get_user_model().objects.get(username=name)


def invite(admin: Client, email: str = "ana@acme.example", role: str = "finance") -> Any:
    return admin.post(f"{URL}invite/", {"email": email, "role": role}, follow=True)


def change(admin: Client, name: str, act: str, **fields: str) -> Any:
    return admin.post(f"{URL}{user(name).pk}/", {"act": act, **fields}, follow=True)


def link_in(text: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:8000(/dashboard/new-password/\S+?/)(?=[\s<])", text)
    assert found, text
    return found[1]


def take(link: str, password: str = PASSWORD, client: Client | None = None) -> Any:
    return (client or Client()).post(link, {"new_password1": password, "new_password2": password})


def signs_in(name: str, password: str = PASSWORD) -> bool:
    answer = Client().post("/accounts/login/", {"login": name, "password": password})
    return answer.status_code == 302


def test_an_invitation_goes_by_mail_and_sets_a_password(admin):
    shown = invite(admin)

    assert "A link went to ana@acme.example" in text_of(shown)
    (sent,) = mail.outbox
    assert sent.to == ["ana@acme.example"]
    link = link_in(sent.body)
    assert link not in shown.content.decode()
    assert "Your user name is ana" in text_of(Client().get(link))
    assert take(link)["Location"] == "/accounts/login/"
    assert signs_in("ana") and signs_in("ana@acme.example")
    assert {group.name for group in user("ana").groups.all()} == {"finance"}


def test_without_mail_the_link_is_shown_this_once(admin, no_mail):
    shown = invite(admin).content.decode()

    link = link_in(shown)
    assert mail.outbox == []
    assert link not in admin.get(URL).content.decode()
    assert take(link).status_code == 302


def test_a_link_works_once(admin, no_mail):
    link = link_in(invite(admin).content.decode())
    take(link)

    again = take(link, "another horse battery")

    assert (again.status_code, signs_in("ana")) == (410, True)


def test_a_link_ends_after_three_days(admin, no_mail):
    link = link_in(invite(admin).content.decode())

    with time_machine.travel(timezone.now() + timedelta(days=4)):
        assert Client().get(link).status_code == 410


def test_a_newer_invitation_puts_the_older_one_out_of_use(admin, no_mail):
    old = link_in(invite(admin).content.decode())
    new = link_in(change(admin, "ana", "link").content.decode())

    assert (Client().get(old).status_code, Client().get(new).status_code) == (410, 200)


def test_a_link_cannot_be_turned_to_another_account(admin, no_mail):
    link = link_in(invite(admin).content.decode())
    invite(admin, "ben@acme.example")
    ours, theirs = (people.urlsafe_base64_encode(str(user(name).pk).encode()) for name in ("ana", "ben"))

    assert Client().get(link.replace(f"/{ours}/", f"/{theirs}/")).status_code == 410
    assert Client().get("/dashboard/new-password/x/y/").status_code == 410


def test_a_weak_password_is_not_taken(admin, no_mail):
    link = link_in(invite(admin).content.decode())

    answer = take(link, "12345")

    assert answer.status_code == 422 and 'aria-invalid="true"' in answer.content.decode()


def test_an_e_mail_has_one_account(admin):
    invite(admin)

    assert "Somebody has an account with this e-mail" in text_of(invite(admin, "ANA@acme.example"))


def test_two_people_of_the_same_first_part_get_names_of_their_own(admin):
    invite(admin)
    invite(admin, "ana@other.example")

    assert set(get_user_model().objects.values_list("username", flat=True)) >= {"ana", "ana2"}


def test_a_role_takes_the_place_of_the_one_before(admin):
    person(Role.VIEWER, "vera")

    change(admin, "vera", "role", role="revops")

    assert [group.name for group in user("vera").groups.all()] == ["revops"]
    assert "role viewer → revops" in text_of(admin.get(URL))


def test_who_may_do_everything_loses_it_with_another_role(admin):
    get_user_model().objects.create_superuser("root", "root@acme.example", PASSWORD)

    change(admin, "root", "role", role="viewer")

    assert (user("root").is_superuser, user("root").is_staff) == (False, False)


def test_switching_off_ends_sign_ins_and_tokens(admin):
    vera = person(Role.VIEWER, "vera")
    token = tokens.make(vera, Role.VIEWER, days=1, now=timezone.now())
    browser = Client()
    browser.post("/accounts/login/", {"login": "vera", "password": "a long enough password"})
    assert browser.get("/dashboard/").status_code == 200

    change(admin, "vera", "off")

    assert browser.get("/dashboard/")["Location"].startswith("/accounts/login/")
    assert Client(headers={"authorization": f"Token {token.text}"}).get("/api/v1/mrr").status_code == 401
    change(admin, "vera", "on")
    assert browser.get("/dashboard/")["Location"].startswith("/accounts/login/")
    assert signs_in("vera", "a long enough password")
    assert Client(headers={"authorization": f"Token {token.text}"}).get("/api/v1/mrr").status_code == 401


def test_a_link_of_an_account_that_is_off_does_not_work(admin, no_mail):
    link = link_in(invite(admin).content.decode())

    change(admin, "ana", "off")

    assert Client().get(link).status_code == 410


@pytest.mark.parametrize(("act", "fields"), [("off", {}), ("role", {"role": "viewer"})])
def test_the_last_administrator_stays(act, fields):
    boss = person(Role.ADMIN, "boss")
    acting = person(Role.ADMIN, "acting")
    client = Client()
    client.force_login(acting, backend="django.contrib.auth.backends.ModelBackend")
    people.invite("new@acme.example", Role.ADMIN, by=acting)  # has no password: nobody who could sign in
    boss.set_unusable_password()
    boss.save()

    told = text_of(client.post(f"{URL}{acting.pk}/", {"act": act, **fields}, follow=True))

    assert "last administrator" in told or "your own account" in told
    acting.refresh_from_db()
    assert acting.is_active and [group.name for group in acting.groups.all()] == ["admin"]


def test_a_reset_by_an_administrator_leaves_the_old_password_until_it_is_used(admin):
    person(Role.VIEWER, "vera")
    get_user_model().objects.filter(username="vera").update(email="vera@acme.example")

    change(admin, "vera", "mail")

    assert signs_in("vera", "a long enough password")
    change(admin, "vera", "mail")  # signing in has put the first link out of use
    take(link_in(mail.outbox[-1].body))
    assert signs_in("vera") and not signs_in("vera", "a long enough password")


def test_who_forgot_the_password_asks_by_mail(admin):
    invite(admin)
    take(link_in(mail.outbox[-1].body))

    Client().post("/accounts/password/reset/", {"email": "ana@acme.example"})

    assert len(mail.outbox) == 2 and "/accounts/password/reset/key/" in mail.outbox[-1].body


def test_every_change_leaves_a_line(admin):
    invite(admin)
    change(admin, "ana", "off")
    change(admin, "ana", "on")

    shown = text_of(admin.get(URL))

    for line in ("account invited, role finance", "link made", "account on → off", "account off → on"):
        assert line in shown
    assert "by admin-person" in shown


def test_only_administrators_change_accounts(admin):
    vera = person(Role.VIEWER, "vera")
    for role in (Role.VIEWER, Role.ANALYST, Role.REVOPS, Role.FINANCE):
        client = page_of(role)
        assert client.get(URL).status_code == 403
        assert client.post(f"{URL}invite/", {"email": "x@acme.example", "role": "admin"}).status_code == 403
        assert client.post(f"{URL}{vera.pk}/", {"act": "off"}).status_code == 403
    assert api(Role.ADMIN, user=person(Role.ADMIN, "boss")).get(URL).status_code == 302


def test_the_list_is_read_with_few_queries(admin, django_assert_max_num_queries):
    for number in range(5):
        people.invite(f"p{number}@acme.example", Role.VIEWER, by=None)
    admin.get(URL)

    with django_assert_max_num_queries(14):
        admin.get(URL)
