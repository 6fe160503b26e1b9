"""Holds listed objects against our rows, and takes what differs into the mirror: what is equal costs no write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from billing import kinds, mirror, redactions
from billing.columns import Columns, Key
from billing.kinds import KINDS, OWN_RULES, Kind, Mention
from billing.models import CouponTerms, Mirrored
from billing.owed import Need
from billing.statements import moment, select
from billing.values import LayoutError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a page of one kind holds: objects that stand, are new, differ (with the columns that do), or cannot be read.

    `unreadable` maps ids to reasons.
    """

    kind: Kind
    same: int = 0
    new: Sequence[Mention] = ()
    differing: Mapping[str, list[str]] = field(default_factory=dict)
    differ: Sequence[Mention] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def fresh(self) -> list[Mention]:
        return [*self.new, *self.differ]


@dataclass(frozen=True, slots=True)
class Taken:
    """How many of a page's objects stand in our rows now, which customers it told something new of, what is missing."""

    kept: int
    touched: set[int]
    missing: set[Need]


def compare(source_pk: int, name: str, objects: Iterable[Json], *, asked: int) -> Compared:
    """Read listed objects, asked for at `asked` (Unix seconds), and hold each against our row. Writes nothing.

    A row that a later event told of stands, whatever was listed.
    """
    kind = KINDS[name]
    mentions: list[Mention] = []
    unreadable: dict[str, str] = {}
    for obj in objects:
        try:
            mentions.append(kinds.fetched(source_pk, kind, _as_asked(name, obj), asked=asked))
        except LayoutError as error:
            unreadable[str(obj["id"])] = error.reason
    mentions = _without_forgotten(source_pk, mentions)
    known = _rows(kind.model, source_pk, {mention.key[1] for mention in mentions})
    whole = _whole_coupons(source_pk, mentions) if name == "coupon" else set()
    new: list[Mention] = []
    differ: list[Mention] = []
    differing: dict[str, list[str]] = {}
    for mention in mentions:
        row = known.get(mention.key[1])
        if row is None or row["version_at"] is None:
            new.append(mention)
        elif (name == "coupon" and mention.key not in whole) or _tells_of_before(name, mention, row):
            differ.append(mention)
        elif row["version_at"] < asked and (names := _differing(kind, mention, row)):
            differ.append(mention)
            differing[mention.key[1]] = names
    same = len(mentions) - len(new) - len(differ)
    return Compared(kind, same, new, differing, differ, unreadable)


def _without_forgotten(source_pk: int, mentions: Sequence[Mention]) -> list[Mention]:
    """Of customers that are forgotten only what may be kept is compared, or each night would find it anew."""
    whose = [
        mention.key[1] if mention.kind.name == "customer" else getattr(mention.row, "customer", "")
        for mention in mentions
    ]
    forgotten = redactions.whose_names(source_pk, {name for name in whose if name})
    return [
        kinds.without_person(mention) if name in forgotten else mention
        for name, mention in zip(whose, mentions, strict=True)
    ]


def take(compared: Compared) -> Taken:
    """Take what is new and what differs into the mirror, in the caller's transaction; read back what stands now."""
    fresh = compared.fresh
    if not fresh:
        return Taken(compared.same, set(), set())
    applied = mirror.take(fresh)
    ids = {mention.key[1] for mention in fresh}
    wanted: dict[str, set[Any]] = {"source_id": {fresh[0].key[0]}, "stripe_id": ids}
    stand = select(compared.kind.model, ("stripe_id", "version_at"), wanted)
    kept = sum(version_at is not None for _, version_at in stand)
    return Taken(compared.same + kept, applied.touched, applied.missing)


def _tells_of_before(name: str, mention: Mention, row: Columns) -> bool:
    """What only events told of so far, and Stripe's list says more of: a life before the end, a schedule's past."""
    if name != "subscription" or not (mention.row.state.status == "canceled" or mention.row.schedule):
        return False
    return bool(row["version_at"] < mention.created and not row["version_event"].startswith(kinds.FETCH_PREFIX))


def _as_asked(name: str, obj: Json) -> Json:
    """What was asked for of a coupon and does not come is nothing: no limit to products, no other currency."""
    if name != "coupon":
        return obj
    asked = {"applies_to": obj.get("applies_to") or {"products": []}}
    return {**obj, **asked, "currency_options": obj.get("currency_options") or {}}


def _whole_coupons(source_pk: int, mentions: Iterable[Mention]) -> set[Key]:
    """The coupons whose products and currencies are known already; these stand apart from the coupon's row."""
    wanted: dict[str, set[Any]] = {"source_id": {source_pk}, "coupon_id": {mention.key[1] for mention in mentions}}
    if not wanted["coupon_id"]:
        return set()
    asked = ("coupon_id", "created_at", "applies_to", "currency_options")
    terms = {
        (coupon_id, created)
        for coupon_id, created, applies_to, options in select(CouponTerms, asked, wanted)
        if applies_to is not None and options is not None
    }
    return {mention.key for mention in mentions if (mention.key[1], mention.row.created or 0) in terms}


# ---- our rows as columns, so that they can be held against what a reader returns ----


class _Alone:
    """An object compared by itself: whose it is plays no part."""

    def __init__(self) -> None:
        self.times: dict[Key, int] = {}

    def payer(self, _told: Any) -> int:
        return 0

    def payer_if_any(self, _told: Any) -> None:
        return None

    def payer_by_charge(self, _told: Any) -> None:
        return None


def _rows(model: type[Mirrored], source_pk: int, ids: set[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    fields = {str(field.column): field for field in model._meta.concrete_fields}
    found: dict[str, dict[str, Any]] = {}
    for values in select(model, tuple(fields), {"source_id": {source_pk}, "stripe_id": ids}):
        row = dict(zip(fields, values, strict=True))
        found[row["stripe_id"]] = {
            name: value if name == "version_at" else _plain(fields[name], value) for name, value in row.items()
        }
    return found


def _plain(column: models.Field[Any, Any], value: Any) -> Any:
    """A value as it was written: `select` returns times as Unix seconds, and JSON as text."""
    if isinstance(column, models.DateTimeField):
        return moment(value)
    if isinstance(column, models.JSONField):
        return None if value is None else json.loads(value)
    if isinstance(column, models.DateField):
        return None if value is None else str(value)
    return value


def _differing(kind: Kind, mention: Mention, row: Columns) -> list[str]:
    own = OWN_RULES.get(kind.name, {})
    told = kind.columns(_Alone(), mention)
    return sorted(
        name
        for name, value in told.items()
        if name != "customer_id" and value != row[name] and not (name in own and value in (None, ""))
    )
