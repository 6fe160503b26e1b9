"""A strict fake of Stripe's API, answering from a dictionary of objects: rights, versions, cursors, expansion, limits.

Point `StripeClient(key, base_addresses={"api": fake.url})` at it. Objects are kept whole (tiers, discounts and lines
included) and shown as Stripe shows them: what needs `expand` stays out or is an id until it is asked for.
"""

from __future__ import annotations

import base64
import copy
import fnmatch
import operator
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from .server import FakeServer, Request, Response, json_response, run
from .stripe_setup import Endpoints, faults_of

Object = dict[str, Any]
Test = Callable[[Object], bool]

# Collection: the object in it, the right that reads it, the filters of its list.
COLLECTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "balance_transactions": ("balance_transaction", "balance_transaction", ("payout", "type", "currency", "source")),
    "charges": ("charge", "charge", ("customer", "payment_intent")),
    "coupons": ("coupon", "coupon", ()),
    "credit_notes": ("credit_note", "credit_note", ("customer", "invoice")),
    "customers": ("customer", "customer", ("email",)),
    "disputes": ("dispute", "dispute", ("charge", "payment_intent")),
    "events": ("event", "event", ("type", "types", "delivery_success")),
    "invoice_payments": ("invoice_payment", "invoice", ("invoice", "payment", "status")),
    "invoices": ("invoice", "invoice", ("customer", "subscription", "status", "collection_method")),
    "payment_intents": ("payment_intent", "payment_intent", ("customer",)),
    "payouts": ("payout", "payout", ("status", "arrival_date")),
    "prices": ("price", "plan", ("active", "product", "type", "currency", "lookup_keys")),
    "products": ("product", "product", ("active", "ids")),
    "refunds": ("refund", "charge", ("charge", "payment_intent")),
    "subscription_items": ("subscription_item", "subscription", ("subscription",)),
    "subscription_schedules": ("subscription_schedule", "subscription", ("customer",)),
    "subscriptions": ("subscription", "subscription", ("customer", "status", "price", "collection_method")),
    "tax_rates": ("tax_rate", "tax_rate", ("active",)),
    "webhook_endpoints": ("webhook_endpoint", "webhook", ()),
}
# Left out until expanded.
HIDDEN = {
    "price": {"tiers", "currency_options"},
    "coupon": {"applies_to", "currency_options"},
    "customer": {"sources", "subscriptions", "tax"},
    "invoice": {"payments", "confirmation_secret"},
    "subscription_item": {"billed_until"},
}
# An id (or a list of ids) until expanded.
REFERENCES = {
    "balance_transaction", "charge", "coupon", "customer", "default_payment_method", "default_price", "discounts",
    "invoice", "latest_invoice", "payment_intent", "payout", "product", "schedule", "source",
    "subscription",
}  # fmt: skip
STATUSES = {"incomplete", "incomplete_expired", "trialing", "active", "past_due", "unpaid", "canceled", "paused"}
INLINE = 10
EVENTS_KEPT_SECONDS = 30 * 86_400
COMMON = {"limit", "starting_after", "ending_before", "created", "expand"}


class StripeError(Exception):
    """One refusal, in Stripe's words."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None,
        kind: str = "invalid_request_error", headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        shown = {"type": kind, "message": message, "code": code, "param": param}
        self.body = {"error": {name: value for name, value in shown.items() if value is not None}}
        self.status = status
        self.headers = dict(headers or {})


@dataclass
class Key:
    """An API key; `rights` like {"customer_read", "webhook_write"}, None for all of them."""

    secret: str
    rights: set[str] | None = None

    def may(self, right: str) -> bool:
        if self.rights is None or right in self.rights:
            return True
        return right.endswith("_read") and right.removesuffix("read") + "write" in self.rights


class FakeStripe(Endpoints, FakeServer):
    """One Stripe account in one mode. `clock` gives Unix seconds; `rate_per_second` turns on the rate limit."""

    def __init__(
        self,
        *,
        port: int = 0,
        key: str = "rk_test_fake",
        account_id: str = "acct_fake",
        livemode: bool = False,
        rate_per_second: float | None = None,
        latency_seconds: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(port=port, latency_seconds=latency_seconds)
        self.clock = clock
        self.livemode = livemode
        self.account_id = account_id
        self.rate_per_second = rate_per_second
        self.keys = {key: Key(key)}
        self.calls = 0
        self.versions: list[str] = []
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind, _, _ in COLLECTIONS.values()}
        self._deleted: dict[str, str] = {}
        self._delivered: dict[str, bool] = {}
        self._sorted: dict[str, list[Object]] = {}
        self._answered: dict[str, tuple[str, Response]] = {}
        self._tokens, self._filled_at = rate_per_second or 0.0, time.monotonic()

    # Setting up and looking in

    def add_key(self, secret: str, rights: Iterable[str] | None = None) -> None:
        """Let a key in; `rights` are Stripe's names without rak_, such as customer_read."""
        self.keys[secret] = Key(secret, None if rights is None else set(rights))

    def add(self, obj: Object) -> Object:
        """Keep an object under its own `object` and `id`, in place of an older one."""
        with self.lock:
            kind = obj["object"]
            before = self._objects[kind].get(obj["id"])
            self._objects[kind][obj["id"]] = copy.deepcopy(obj)
            self._deleted.pop(obj["id"], None)
            self._sorted.pop(kind, None)
            if kind == "subscription":
                self._keep_items(obj, before)
        return obj

    def _keep_items(self, subscription: Object, before: Object | None) -> None:
        """The items of a subscription are a collection of their own."""
        items = self._objects["subscription_item"]
        for item in before["items"]["data"] if before else []:
            items.pop(item["id"], None)
        for item in subscription["items"]["data"]:
            items[item["id"]] = {"subscription": subscription["id"], **copy.deepcopy(item)}
        self._sorted.pop("subscription_item", None)

    def add_all(self, objects: Iterable[Object]) -> None:
        for obj in objects:
            self.add(obj)

    def add_event(self, event: Object, *, delivered: bool = True) -> Object:
        """Keep an event; one that was not delivered is what delivery_success=false lists."""
        with self.lock:
            self._delivered[event["id"]] = delivered
        return self.add(event)

    def deletes(self, object_id: str) -> None:
        """A deleted customer, product or coupon still answers, with `deleted: true`."""
        with self.lock:
            for kind, kept in self._objects.items():
                if kept.pop(object_id, None) is not None:
                    self._deleted[object_id] = kind
                    self._sorted.pop(kind, None)

    def object(self, object_id: str) -> Object:
        with self.lock:
            return next(copy.deepcopy(kept[object_id]) for kept in self._objects.values() if object_id in kept)

    def limits_next(
        self, reason: str = "global-rate", *, count: int | None = 1, match: str = "", every: int = 1
    ) -> None:
        """Answer 429 with Stripe's reason; "lock_timeout" is the object lock, which has none."""
        refused = _rate_limited(reason)
        self.fails_next(429, refused.body, headers=refused.headers, count=count, match=match, every=every)

    # Answering

    def answer(self, request: Request) -> Response:
        headers = {"Request-Id": f"req_{secrets.token_hex(7)}", "Date": formatdate(self.clock(), usegmt=True)}
        try:
            with self.lock:
                key = self._key(request)
                self._admit()
                headers["Stripe-Version"] = self._version(request)
                self.calls += 1
                response = self._once(request, key) if request.method == "POST" else self._routed(request, key)
        except StripeError as refusal:
            response = json_response(refusal.body, refusal.status, refusal.headers)
        return Response(response.status, response.body, {**response.headers, **headers})

    def failure(self, status: int) -> Response:
        if status == 429:
            refused = _rate_limited("global-rate")
            return json_response(refused.body, 429, refused.headers)
        return json_response({"error": {"type": "api_error", "message": f"failed on purpose with {status}"}}, status)

    def _key(self, request: Request) -> Key:
        kind, _, given = request.header("authorization").partition(" ")
        if kind == "Basic":
            given = base64.b64decode(given).decode().partition(":")[0]
        if not given:
            raise StripeError(401, "You did not provide an API key.", code="api_key_missing")
        if given not in self.keys:
            raise StripeError(401, f"Invalid API Key provided: {given[:8]}****{given[-4:]}", code="api_key_invalid")
        account = request.header("stripe-account")
        if account and account != self.account_id:
            message = f"The provided key does not have access to account '{account}' (or that account does not exist)."
            raise StripeError(403, message, code="account_invalid")
        return self.keys[given]

    def _admit(self) -> None:
        """A bucket that fills at the allowed rate."""
        if self.rate_per_second is None:
            return
        now = time.monotonic()
        filled = self._tokens + (now - self._filled_at) * self.rate_per_second
        self._tokens, self._filled_at = min(self.rate_per_second, filled), now
        if self._tokens < 1:
            raise _rate_limited("global-rate")
        self._tokens -= 1

    def _version(self, request: Request) -> str:
        version = request.header("stripe-version")
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?", version):
            raise StripeError(400, f"Invalid Stripe API version: {version or 'none given'}")
        self.versions.append(version)
        return version

    def _once(self, request: Request, key: Key) -> Response:
        """A POST with an idempotency key takes effect once; other parameters with it are refused."""
        name = request.header("idempotency-key")
        asked = f"{request.path} {request.text}"
        if name in self._answered:
            before, response = self._answered[name]
            if before != asked:
                message = (
                    "Keys for idempotent requests can only be used with the same parameters they were first used with."
                )
                raise StripeError(400, message, kind="idempotency_error")
            return response
        response = self._routed(request, key)
        if name:
            self._answered[name] = (asked, response)
        return response

    def _routed(self, request: Request, key: Key) -> Response:
        version, *parts = request.segments
        if version != "v1" or not parts:
            raise _unknown(request)
        if parts == ["account"]:
            self._need(key, "accounts_kyc_basic_read")
            return json_response({"id": self.account_id, "object": "account", "country": "US"})
        if parts[-1] == "search":
            message = "Search is eventually consistent and not for reconciliation: this fake does not offer it."
            raise StripeError(400, message)
        if parts[0] not in COLLECTIONS:
            raise _unknown(request)
        kind, right, filters = COLLECTIONS[parts[0]]
        self._need(key, f"{right}_{'read' if request.method == 'GET' else 'write'}")
        given = _nested((name, value) for name, values in request.query.items() for value in values)
        if request.method != "GET":
            given = _nested(parse_qsl(request.text, keep_blank_values=True))
            return self._written(request, kind, parts[1:], given)
        shown = _Shown(self, key, given.get("expand", []))
        if len(parts) == 1:
            return json_response(self._list(kind, parts[0], given, filters, shown))
        obj = self._found(kind, parts[1], allow_deleted=len(parts) == 2)
        if len(parts) == 2:
            _refuse_unknown(given, {"expand"})
            return json_response(obj if obj.get("deleted") else shown.one(obj))
        if parts[2:] == ["lines"] and kind in ("invoice", "credit_note"):
            _refuse_unknown(given, COMMON - {"created"})
            return json_response(_page(obj["lines"]["data"], given, request.path, shown))
        raise _unknown(request)

    def _need(self, key: Key, right: str) -> None:
        if not key.may(right):
            message = (
                f"The provided key '{key.secret[:8]}*****{key.secret[-4:]}' does not have the required permissions for "
                f"this endpoint on account '{self.account_id}'. Having the 'rak_{right}' permission would allow this "
                "request to continue."
            )
            raise StripeError(403, message)

    def _found(self, kind: str, object_id: str, *, allow_deleted: bool = False) -> Object:
        obj = self._objects[kind].get(object_id)
        if obj is not None and not (kind == "event" and self._is_gone(obj)):
            return obj
        if allow_deleted and self._deleted.get(object_id) == kind:
            return {"id": object_id, "object": kind, "deleted": True}
        name = kind.replace("_", " ")
        raise StripeError(404, f"No such {name}: '{object_id}'", code="resource_missing", param="id")

    def _is_gone(self, event: Object) -> bool:
        return bool(event["created"] < self.clock() - EVENTS_KEPT_SECONDS)

    # Lists

    def _list(self, kind: str, name: str, given: Object, filters: tuple[str, ...], shown: _Shown) -> Object:
        _refuse_unknown(given, COMMON | set(filters))
        if kind == "subscription_item" and "subscription" not in given:
            raise StripeError(
                400, "Missing required param: subscription.", code="parameter_missing", param="subscription"
            )
        rows = self._newest_first(kind)
        tests = self._tests(kind, given, filters)
        if tests:
            rows = [obj for obj in rows if all(test(obj) for test in tests)]
        return _page(rows, given, f"/v1/{name}", shown)

    def _newest_first(self, kind: str) -> list[Object]:
        if kind not in self._sorted:
            kept = list(reversed(self._objects[kind].values()))
            self._sorted[kind] = sorted(kept, key=lambda obj: -int(obj.get("created", 0)))
        return self._sorted[kind]

    def _tests(self, kind: str, given: Object, filters: tuple[str, ...]) -> list[Test]:
        """What an object must pass to be listed: none for a plain list, so that a large one is read fast."""
        special: dict[tuple[str, str], Callable[[Any], Test]] = {
            ("subscription", "price"): lambda wanted: lambda obj: wanted in _prices_of(obj),
            ("invoice", "subscription"): lambda wanted: lambda obj: bool(_subscription_of(obj) == wanted),
            ("invoice_payment", "payment"): lambda wanted: lambda obj: _is_payment(obj, wanted),
        }
        tests = [_in_range("created", given["created"])] if "created" in given else []
        if kind == "subscription" and given.get("status") != "all":
            tests.append(_of_status(given.get("status")))
        if kind == "event":
            return [*tests, *self._event_tests(given)]
        for name in filters:
            if name in given and (kind, name) != ("subscription", "status"):
                tests.append(special[kind, name](given[name]) if (kind, name) in special else _equal(name, given[name]))
        return tests

    def _event_tests(self, given: Object) -> list[Test]:
        if "type" in given and "types" in given:
            raise StripeError(400, "You may only specify one of these parameters: type, types.")
        tests: list[Test] = [lambda event: not self._is_gone(event)]
        types = given.get("types") or ([given["type"]] if "type" in given else None)
        if types:
            tests.append(lambda event: any(fnmatch.fnmatchcase(event["type"], one) for one in types))
        if "delivery_success" in given:
            wanted = given["delivery_success"] == "true"
            tests.append(lambda event: self._delivered.get(event["id"], True) == wanted)
        return tests

    # Writes: webhook endpoints, and metadata of customers and subscriptions

    def _written(self, request: Request, kind: str, parts: list[str], given: Object) -> Response:
        if kind == "webhook_endpoint":
            return self._endpoint(request, parts, given)
        if request.method == "POST" and kind in ("customer", "subscription") and len(parts) == 1:
            _refuse_unknown(given, {"metadata", "expand"})
            obj = self._found(kind, parts[0])
            changed = {**obj.get("metadata", {}), **given.get("metadata", {})}
            obj["metadata"] = {name: value for name, value in changed.items() if value != ""}
            return json_response(_Shown(self, None, []).one(obj))
        raise _unknown(request)

    def _endpoint(self, request: Request, parts: list[str], given: Object) -> Response:
        if request.method == "DELETE" and parts:
            self._found("webhook_endpoint", parts[0])
            self.deletes(parts[0])
            return json_response({"id": parts[0], "object": "webhook_endpoint", "deleted": True})
        _refuse_unknown(
            given, {"url", "enabled_events", "api_version", "description", "metadata", "disabled", "connect"}
        )
        if fault := faults_of(given):
            raise StripeError(400, fault[1], param=fault[0])
        if parts:
            endpoint = self._found("webhook_endpoint", parts[0])
            if "api_version" in given:
                raise StripeError(
                    400, "Received unknown parameter: api_version", code="parameter_unknown", param="api_version"
                )
            endpoint |= {name: value for name, value in given.items() if name != "disabled"}
            if "disabled" in given:
                endpoint["status"] = "disabled" if given["disabled"] == "true" else "enabled"
            return json_response({name: value for name, value in endpoint.items() if name != "secret"})
        for name in ("url", "enabled_events"):
            if not given.get(name):
                raise StripeError(400, f"Missing required param: {name}.", code="parameter_missing", param=name)
        if self.livemode and not given["url"].startswith("https://"):
            raise StripeError(400, "Invalid URL: URL must be https in live mode", code="url_invalid", param="url")
        endpoint = {
            "id": f"we_{secrets.token_hex(12)}", "object": "webhook_endpoint", "api_version": None, "application": None,
            "created": int(self.clock()), "description": None, "livemode": self.livemode, "metadata": {},
            "status": "enabled", "secret": f"whsec_{secrets.token_hex(16)}", **given,
        }  # fmt: skip
        self.add(endpoint)
        return json_response(endpoint)

    # As a process of its own

    def control(self, request: Request) -> Any:
        match request.method, request.segments[1:]:
            case "GET", ["calls"]:
                return {"calls": self.calls, "versions": sorted(set(self.versions))}
            case "POST", ["objects"]:
                self.add_all(request.json())
                return {}
            case "POST", ["events"]:
                for event in request.json():
                    self.add_event(event, delivered=request.param("delivered", "true") == "true")
                return {}
            case "POST", ["keys"]:
                self.add_key(**request.json())
                return {}
        return None

    def state(self) -> Any:
        with self.lock:
            return {"objects": [obj for kept in self._objects.values() for obj in kept.values()],
                    "delivered": self._delivered, "deleted": self._deleted, "calls": self.calls}  # fmt: skip

    def restore(self, state: Any) -> None:
        self.add_all(state["objects"])
        self._delivered, self._deleted, self.calls = state["delivered"], state["deleted"], state["calls"]


class _Shown:
    """Shows objects for one request: collapses what was not expanded, fetches what was."""

    def __init__(self, fake: FakeStripe, key: Key | None, expand: list[str]) -> None:
        self.fake = fake
        self.key = key
        self.expand = set(expand)
        known = REFERENCES | set().union(*HIDDEN.values()) | {"items", "lines", "price", "data"}
        for path in expand:
            steps = path.split(".")
            if len(steps) > 4:
                raise StripeError(
                    400, f"You cannot expand more than 4 levels of a property. Property: {path}", param="expand"
                )
            if steps[-1] not in known:
                raise StripeError(
                    400, f"This property cannot be expanded ({path}).", code="parameter_invalid", param="expand"
                )

    def one(self, obj: Object, at: str = "") -> Object:
        """A copy of an object as Stripe sends it; `at` is its path in expand's terms, with a dot at the end."""
        kind = str(obj.get("object", ""))
        hidden = HIDDEN.get(kind, set()) | ({"secret"} if kind == "webhook_endpoint" else set())
        if ".currency_options." in f".{at}":
            hidden = {"tiers"}
        return {
            name: self._value(name, value, f"{at}{name}", kind)
            for name, value in obj.items()
            if name not in hidden or self._asked(f"{at}{name}")
        }

    def _asked(self, path: str) -> bool:
        return any(one == path or one.startswith(f"{path}.") for one in self.expand)

    def _value(self, name: str, value: Any, path: str, kind: str) -> Any:
        is_reference = name in REFERENCES or path == "phases.items.price"
        if is_reference and kind != "event" and (not isinstance(value, dict) or "id" in value):
            if self._asked(path):
                return self._expanded(name, value, path)
            return [_id(one) for one in value] if isinstance(value, list) else _id(value)
        if isinstance(value, list):
            return [self.one(one, f"{path}.") if isinstance(one, dict) else one for one in value]
        if not isinstance(value, dict) or kind == "event":
            return value
        if value.get("object") == "list":
            return self._inline(value, path)
        return self.one(value, f"{path}.")

    def _inline(self, listed: Object, path: str) -> Object:
        """A list inside an object carries its first ten."""
        rows = listed["data"]
        data = [self.one(row, f"{path}.data.") for row in rows[:INLINE]]
        return {**listed, "data": data, "has_more": listed.get("has_more", False) or len(rows) > INLINE}

    def _expanded(self, name: str, value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [self._expanded(name, one, path) for one in value]
        if isinstance(value, str):
            value = self._fetched(name, value)
        return self.one(value, f"{path}.") if isinstance(value, dict) else value

    def _fetched(self, name: str, object_id: str) -> Any:
        """The object behind an id, which the key must be allowed to read."""
        for kind, right, _ in COLLECTIONS.values():
            if object_id in self.fake._objects[kind]:
                if self.key is not None:
                    self.fake._need(self.key, f"{right}_read")
                return self.fake._objects[kind][object_id]
        return object_id


def _page(rows: list[Object], given: Object, url: str, shown: _Shown) -> Object:
    """One page of a list that is sorted newest first."""
    limit = _limit(given)
    if "starting_after" in given and "ending_before" in given:
        raise StripeError(400, "You may only specify one of these parameters: ending_before, starting_after.")
    if "starting_after" in given:
        rows = rows[_place(rows, given["starting_after"], "starting_after") + 1 :]
        page, more = rows[:limit], len(rows) > limit
    elif "ending_before" in given:
        rows = rows[: _place(rows, given["ending_before"], "ending_before")]
        page, more = rows[-limit:], len(rows) > limit
    else:
        page, more = rows[:limit], len(rows) > limit
    return {"object": "list", "data": [shown.one(row, "data.") for row in page], "has_more": more, "url": url}


def _limit(given: Object) -> int:
    limit = str(given.get("limit", 10))
    if not limit.isdigit() or not 1 <= int(limit) <= 100:
        message = "Invalid integer: limit must be between 1 and 100"
        raise StripeError(400, message, code="parameter_invalid_integer", param="limit")
    return int(limit)


def _place(rows: list[Object], object_id: str, param: str) -> int:
    for at, row in enumerate(rows):
        if row["id"] == object_id:
            return at
    raise StripeError(400, f"No such object: '{object_id}'", code="resource_missing", param=param)


def _in_range(name: str, wanted: Any) -> Test:
    """created=1 or created[gte]=1 and its kin."""
    bounds = wanted if isinstance(wanted, dict) else {"gte": wanted, "lte": wanted}
    compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    for sign, value in bounds.items():
        if sign not in compare or not str(value).lstrip("-").isdigit():
            raise StripeError(400, f"Invalid {name}[{sign}]: {value}", code="parameter_unknown", param=name)
    pairs = [(compare[sign], int(value)) for sign, value in bounds.items()]
    return lambda obj: all(holds(int(obj.get(name, 0)), bound) for holds, bound in pairs)


def _of_status(wanted: str | None) -> Test:
    """No status leaves out the cancelled ones."""
    if wanted is None:
        return lambda obj: obj["status"] != "canceled"
    if wanted == "ended":
        return lambda obj: obj["status"] in ("canceled", "incomplete_expired")
    if wanted not in STATUSES:
        raise StripeError(400, f"Invalid status: {wanted}", param="status")
    return lambda obj: obj["status"] == wanted


def _equal(name: str, wanted: Any) -> Test:
    if name == "arrival_date":
        return _in_range(name, wanted)
    if isinstance(wanted, list):
        own = {"ids": "id", "lookup_keys": "lookup_key"}.get(name, name)
        return lambda obj: obj.get(own) in wanted
    if wanted in ("true", "false"):
        return lambda obj: obj.get(name) is (wanted == "true")
    return lambda obj: bool(_id(obj.get(name)) == wanted)


def _prices_of(subscription: Object) -> list[str]:
    return [item["price"]["id"] for item in subscription["items"]["data"]]


def _is_payment(payment: Object, wanted: Object) -> bool:
    return all(_id(payment["payment"].get(name)) == value for name, value in wanted.items())


def _subscription_of(invoice: Object) -> Any:
    """Old layouts name it at the top, newer ones under parent."""
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return _id(details.get("subscription") or invoice.get("subscription"))


def _id(value: Any) -> Any:
    return value["id"] if isinstance(value, dict) and "id" in value else value


def _nested(pairs: Iterable[tuple[str, str]]) -> Object:
    """created[gte]=1&expand[0]=x as {"created": {"gte": "1"}, "expand": ["x"]}."""
    found: Object = {}
    for name, value in pairs:
        first, *steps = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", name)
        if not steps:
            found[first] = value
        elif steps[0] == "" or steps[0].isdigit():
            found.setdefault(first, []).append(value)
        else:
            found.setdefault(first, {})[steps[0]] = value
    return found


def _refuse_unknown(given: Object, known: set[str]) -> None:
    for name in given:
        if name not in known:
            raise StripeError(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def _unknown(request: Request) -> StripeError:
    message = f"Unrecognized request URL ({request.method}: {request.path})."
    return StripeError(404, message)


def _rate_limited(reason: str) -> StripeError:
    if reason == "lock_timeout":
        message = (
            "This object cannot be accessed right now because another API request or Stripe process is accessing it."
        )
        return StripeError(429, message, code="lock_timeout")
    message = "Request rate limit exceeded."
    return StripeError(429, message, code="rate_limit", headers={"Stripe-Rate-Limited-Reason": reason})


if __name__ == "__main__":
    run(lambda port: FakeStripe(port=port))
