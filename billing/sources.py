"""Adds and changes sources: a Stripe account in one mode, its signing secrets and its API key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from django.db import transaction
from django.utils import timezone

from billing import owed
from billing.models import SigningSecret, StripeEvent, StripeSource


class SourceError(ValueError):
    """A source cannot be set up like this; the message says why and what to do."""


def add(
    slug: str,
    *,
    label: str = "",
    signing_secrets: Sequence[str] = (),
    api_key: str = "",
    livemode: bool | None = None,
    account_id: str | None = None,
    history_from: date | None = None,
    remove_last4: str = "",
    allow_secret_key: bool = False,
) -> tuple[StripeSource, bool]:
    """Add a source, or change what is given of an existing one; return it, and whether it is new. Raises SourceError.

    Secrets are added to those there are; `remove_last4` takes one out. The mode cannot change once there are events.
    """
    check_slug(slug)
    for secret in signing_secrets:
        check_signing_secret(secret)
    with transaction.atomic():
        source = StripeSource.objects.select_for_update().filter(slug=slug).first()
        is_new = source is None
        if source is None:
            if not label:
                raise SourceError("A new source needs a label: the name people see.")
            source = StripeSource(slug=slug, livemode=livemode is not False)
        elif livemode is not None and livemode != source.livemode:
            if StripeEvent.objects.filter(source=source).exists():
                raise SourceError("A source's mode cannot change once it has events. Add another source.")
            source.livemode = livemode
        if api_key:
            check_api_key(api_key, livemode=source.livemode, allow_secret_key=allow_secret_key)
            if api_key != source.api_key:
                source.api_key, source.api_key_at = api_key, timezone.now()
        source.label = label or source.label
        source.account_id = source.account_id if account_id is None else account_id
        source.history_from = history_from or source.history_from
        source.save()
        if api_key:
            owed.resume(source.pk, now=timezone.now())
        if remove_last4:
            remove_secret(source, remove_last4)
        for secret in signing_secrets:
            _add_secret(source, secret)
    return source, is_new


def remove_secret(source: StripeSource, last4: str) -> None:
    """Take a signing secret out by its last four characters; deliveries signed with it are refused from now on."""
    removed, _ = SigningSecret.objects.filter(source=source, last4=last4[-4:]).delete()
    if not removed:
        raise SourceError(f"'{source.slug}' has no signing secret that ends in {last4[-4:]}.")


def take_out_secret(pk: int) -> None:
    """Take a signing secret out by our key of it; deliveries signed with it are refused from now on."""
    SigningSecret.objects.filter(pk=pk).delete()


def check_slug(slug: str) -> None:
    if not 0 < len(slug) <= 50 or not slug.isascii() or not slug.replace("-", "a").replace("_", "a").isalnum():
        raise SourceError("A short name has letters, digits, - and _, at most 50.")


def check_signing_secret(secret: str) -> None:
    if not secret.startswith("whsec_") or len(secret) < 12 or not secret.isascii() or " " in secret:
        what = "This is an API key. " if secret[:3] in ("sk_", "rk_", "pk_") else ""
        raise SourceError(f"{what}The signing secret starts with whsec_ and is shown on the endpoint's page in Stripe.")


def check_api_key(key: str, *, livemode: bool, allow_secret_key: bool) -> None:
    mode = "live" if livemode else "test"
    if key.startswith("sk_live_") and not allow_secret_key:
        raise SourceError(
            "A full secret key can move money, and we only read. Make a restricted key (rk_live_…) with read rights."
        )
    if not key.startswith(("rk_live_", "rk_test_", "sk_test_", "sk_live_")) or not key.isascii():
        raise SourceError("An API key starts with rk_live_ or rk_test_.")
    if not key[3:].startswith(f"{mode}_"):
        raise SourceError(f"This key is not of the source's mode, which is {mode}.")


def _add_secret(source: StripeSource, secret: str) -> None:
    last4 = secret[-4:]
    known = SigningSecret.objects.filter(source=source, last4=last4).first()
    if known is None:
        SigningSecret.objects.create(source=source, secret=secret, last4=last4)
    elif known.secret != secret:
        raise SourceError(f"Another signing secret that ends in {last4} is active. Remove it first, or roll this one.")
