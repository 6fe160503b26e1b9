"""A strict fake Slack workspace: who may post where, which blocks are well formed, who is mentioned by accident.

Point `WebClient(token, base_url=fake.api_url)` at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .server import FakeServer, Request, Response, json_response, run

MAX_TEXT = 40_000
MAX_BLOCKS = 50
MENTION = re.compile(r"<(?:!(?:channel|here|everyone|subteam\^[^>]*)|@[UW][A-Z0-9]+)(?:\|[^>]*)?>")
SCOPES = {
    "chat.postMessage": "chat:write",
    "conversations.info": "channels:read",
    "conversations.join": "channels:join",
    "conversations.list": "channels:read",
    "conversations.members": "channels:read",
    "conversations.open": "im:write",
    "users.info": "users:read",
    "users.lookupByEmail": "users:read.email",
}
# Block: the keys it may have besides type and block_id, the keys it must have.
BLOCKS: dict[str, tuple[set[str], set[str]]] = {
    "actions": ({"elements"}, {"elements"}),
    "context": ({"elements"}, {"elements"}),
    "divider": (set(), set()),
    "header": ({"text"}, {"text"}),
    "image": ({"image_url", "alt_text", "title"}, {"image_url", "alt_text"}),
    "section": ({"text", "fields", "accessory", "expand"}, set()),
}


class SlackError(Exception):
    """Slack answers 200 with ok: false and a word."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.body = {"ok": False, "error": error, **more}


@dataclass
class Channel:
    id: str
    name: str
    members: set[str] = field(default_factory=set)
    is_private: bool = False
    is_archived: bool = False
    is_im: bool = False

    def shown(self, bot_id: str) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "is_channel": not self.is_im, "is_im": self.is_im,
                "is_private": self.is_private, "is_archived": self.is_archived,
                "is_member": bot_id in self.members}  # fmt: skip


@dataclass
class User:
    id: str
    name: str
    email: str
    deleted: bool = False

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "deleted": self.deleted, "is_bot": False,
                "profile": {"email": self.email, "real_name": self.name}}  # fmt: skip


@dataclass(frozen=True)
class Message:
    """A message that arrived; `mentions` are the people it would ring, such as <!channel>."""

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    mentions: list[str]

    @property
    def all_text(self) -> str:
        """Everything a reader sees, blocks included."""
        return "\n".join([self.text, *_texts(self.blocks)])


class FakeSlack(FakeServer):
    """One workspace with a bot. `messages` are those that arrived, oldest first."""

    def __init__(self, *, port: int = 0, token: str = "xoxb-fake", scopes: Iterable[str] = SCOPES.values()) -> None:
        super().__init__(port=port)
        self.token = token
        self.scopes = set(scopes)
        self.bot_id = "U0BOT"
        self.messages: list[Message] = []
        self.channels: dict[str, Channel] = {}
        self.users: dict[str, User] = {}

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    def add_channel(self, name: str, *, member: bool = True, private: bool = False, archived: bool = False) -> str:
        """A channel by its name without #, and whether the bot is in it. Returns its id."""
        channel = Channel(f"C{len(self.channels) + 1:04d}", name, {self.bot_id} if member else set(), private, archived)
        self.channels[channel.id] = channel
        return channel.id

    def add_user(self, name: str, email: str, *, deleted: bool = False) -> str:
        user = User(f"U{len(self.users) + 1:04d}", name, email, deleted)
        self.users[user.id] = user
        return user.id

    def limits_next(self, seconds: int = 1, *, count: int | None = 1, match: str = "") -> None:
        """Answer 429 with Retry-After."""
        body = {"ok": False, "error": "ratelimited"}
        self.fails_next(429, body, headers={"Retry-After": str(seconds)}, count=count, match=match)

    @property
    def mentions(self) -> list[str]:
        """All accidental or wanted rings so far."""
        return [mention for message in self.messages for mention in message.mentions]

    # Answering

    def answer(self, request: Request) -> Response:
        method = request.path.rsplit("/", 1)[-1]
        try:
            with self.lock:
                given = _arguments(request)
                self._check(request, method, given)
                return json_response({"ok": True, **METHODS[method](self, given)})
        except SlackError as refusal:
            return json_response(refusal.body)

    def failure(self, status: int) -> Response:
        return json_response({"ok": False, "error": "internal_error"}, status)

    def _check(self, request: Request, method: str, given: Mapping[str, Any]) -> None:
        if method not in METHODS:
            raise SlackError("unknown_method", req_method=method)
        token = request.header("authorization").removeprefix("Bearer ") or given.get("token")
        if not token:
            raise SlackError("not_authed")
        if token != self.token:
            raise SlackError("invalid_auth")
        needed = SCOPES.get(method)
        if needed and needed not in self.scopes:
            raise SlackError("missing_scope", needed=needed, provided=",".join(sorted(self.scopes)))

    def _post_message(self, given: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._channel(str(given.get("channel", "")), opening=True)
        if channel.is_archived:
            raise SlackError("is_archived")
        if self.bot_id not in channel.members and (channel.is_private or "chat:write.public" not in self.scopes):
            raise SlackError("not_in_channel")
        text, blocks = str(given.get("text") or ""), _list(given.get("blocks"), "invalid_blocks_format")
        if not text and not blocks and not given.get("attachments"):
            raise SlackError("no_text")
        if len(text) > MAX_TEXT:
            raise SlackError("msg_too_long")
        faults = block_faults(blocks)
        if faults:
            raise SlackError("invalid_blocks", errors=faults, response_metadata={"messages": faults})
        ts = f"1700000000.{len(self.messages) + 1:06d}"
        mentions = MENTION.findall("\n".join([text, *_texts(blocks, only_markdown=True)]))
        self.messages.append(Message(channel.id, ts, text, blocks, given.get("thread_ts"), mentions))
        return {
            "channel": channel.id,
            "ts": ts,
            "message": {"text": text, "blocks": blocks, "ts": ts, "type": "message"},
        }

    def _channel(self, name: str, *, opening: bool = False) -> Channel:
        """By id or, for posting, by name or by the id of a person. A private one is unseen from outside."""
        if opening and name in self.users:
            return self._open_im(name)
        found = self.channels.get(name)
        if found is None and opening:
            found = next((one for one in self.channels.values() if one.name == name.removeprefix("#")), None)
        if found is None or (found.is_private and self.bot_id not in found.members):
            raise SlackError("channel_not_found")
        return found

    def _open_im(self, user_id: str) -> Channel:
        if user_id not in self.users or self.users[user_id].deleted:
            raise SlackError("user_not_found")
        return self.channels.setdefault(
            f"D{user_id[1:]}", Channel(f"D{user_id[1:]}", "", {self.bot_id, user_id}, is_im=True)
        )

    def _lookup(self, given: Mapping[str, Any]) -> dict[str, Any]:
        email = str(given.get("email", "")).lower()
        found = next((one for one in self.users.values() if one.email.lower() == email and not one.deleted), None)
        if found is None:
            raise SlackError("users_not_found")
        return {"user": found.shown()}

    def _user_info(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if given.get("user") not in self.users:
            raise SlackError("user_not_found")
        return {"user": self.users[given["user"]].shown()}

    def _list_channels(self, given: Mapping[str, Any]) -> dict[str, Any]:
        seen = [one for one in self.channels.values() if not one.is_im]
        seen = [one for one in seen if not one.is_private or self.bot_id in one.members]
        if str(given.get("exclude_archived", "")).lower() in ("true", "1"):
            seen = [one for one in seen if not one.is_archived]
        kinds = str(given.get("types") or "public_channel").split(",")
        seen = [one for one in seen if ("private_channel" if one.is_private else "public_channel") in kinds]
        start, limit = int(given.get("cursor") or 0), int(given.get("limit") or 100)
        if not 1 <= limit <= 1000:
            raise SlackError("invalid_limit")
        page = [one.shown(self.bot_id) for one in seen[start : start + limit]]
        cursor = str(start + limit) if start + limit < len(seen) else ""
        return {"channels": page, "response_metadata": {"next_cursor": cursor}}

    def _join(self, given: Mapping[str, Any]) -> dict[str, Any]:
        channel = self._channel(str(given.get("channel", "")))
        if channel.is_private or channel.is_im:
            raise SlackError("method_not_supported_for_channel_type")
        if channel.is_archived:
            raise SlackError("is_archived")
        channel.members.add(self.bot_id)
        return {"channel": channel.shown(self.bot_id)}

    def _open(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"channel": {"id": self._open_im(str(given.get("users", ""))).id}}

    def _info(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"channel": self._channel(str(given.get("channel", ""))).shown(self.bot_id)}

    def _members(self, given: Mapping[str, Any]) -> dict[str, Any]:
        members = sorted(self._channel(str(given.get("channel", ""))).members)
        return {"members": members, "response_metadata": {"next_cursor": ""}}

    def _auth_test(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"url": "https://fake.slack.com/", "team": "Fake", "team_id": "T0001", "user": "bot",
                "user_id": self.bot_id, "bot_id": "B0001"}  # fmt: skip

    # As a process of its own

    def control(self, request: Request) -> Any:
        match request.method, request.segments[1:]:
            case "GET", ["messages"]:
                return [{**vars(message), "all_text": message.all_text} for message in self.messages]
            case "POST", ["channels"]:
                return {"id": self.add_channel(**request.json())}
            case "POST", ["users"]:
                return {"id": self.add_user(**request.json())}
            case "POST", ["limits_next"]:
                self.limits_next(**request.json())
                return {}
        return None


METHODS = {
    "auth.test": FakeSlack._auth_test,
    "chat.postMessage": FakeSlack._post_message,
    "conversations.info": FakeSlack._info,
    "conversations.join": FakeSlack._join,
    "conversations.list": FakeSlack._list_channels,
    "conversations.members": FakeSlack._members,
    "conversations.open": FakeSlack._open,
    "users.info": FakeSlack._user_info,
    "users.lookupByEmail": FakeSlack._lookup,
}


def block_faults(blocks: list[dict[str, Any]]) -> list[str]:
    """What Slack would refuse, each with the place; empty when all is well."""
    faults = ["no more than 50 items allowed [json-pointer:/blocks]"] if len(blocks) > MAX_BLOCKS else []
    seen: set[str] = set()
    for at, block in enumerate(blocks):
        found = _block_fault(block, seen) if isinstance(block, dict) else "must be an object"
        if found:
            faults.append(f"{found} [json-pointer:/blocks/{at}]")
    return faults


def _block_fault(block: dict[str, Any], seen: set[str]) -> str | None:
    kind = block.get("type")
    if kind not in BLOCKS:
        return f"unsupported type: {kind}"
    allowed, needed = BLOCKS[kind]
    extra = set(block) - allowed - {"type", "block_id"}
    missing = needed - set(block)
    if extra or missing:
        return f"missing required field: {min(missing)}" if missing else f"additional property: {min(extra)}"
    block_id = block.get("block_id")
    if block_id is not None:
        if len(str(block_id)) > 255 or block_id in seen:
            return "block_id must be unique and shorter than 256 characters"
        seen.add(block_id)
    if kind == "header":
        return _text_fault(block["text"], 150, only_plain=True)
    if kind == "section":
        return _section_fault(block)
    if kind == "context":
        return _elements_fault(block["elements"], 10, _context_fault)
    if kind == "actions":
        return _elements_fault(block["elements"], 25, _button_fault)
    return None


def _section_fault(block: dict[str, Any]) -> str | None:
    if "text" not in block and "fields" not in block:
        return "missing required field: text or fields"
    if "text" in block and (fault := _text_fault(block["text"], 3000)):
        return fault
    if "fields" in block and (fault := _elements_fault(block["fields"], 10, lambda one: _text_fault(one, 2000))):
        return fault
    return _button_fault(block["accessory"]) if block.get("accessory", {}).get("type") == "button" else None


def _elements_fault(elements: Any, most: int, fault_of: Any) -> str | None:
    if not isinstance(elements, list) or not 1 <= len(elements) <= most:
        return f"must have 1 to {most} items"
    return next((fault for one in elements if (fault := fault_of(one))), None)


def _context_fault(element: dict[str, Any]) -> str | None:
    if element.get("type") == "image":
        return None if {"image_url", "alt_text"} <= set(element) else "missing required field: image_url or alt_text"
    return _text_fault(element, 2000)


def _button_fault(element: dict[str, Any]) -> str | None:
    if element.get("type") != "button":
        return f"unsupported element: {element.get('type')}"
    if len(str(element.get("url", ""))) > 3000 or len(str(element.get("value", ""))) > 2000:
        return "url or value too long"
    if element.get("style", "primary") not in ("primary", "danger"):
        return "style must be primary or danger"
    return _text_fault(element.get("text"), 75, only_plain=True)


def _text_fault(text: Any, longest: int, *, only_plain: bool = False) -> str | None:
    kinds = ("plain_text",) if only_plain else ("plain_text", "mrkdwn")
    if not isinstance(text, dict) or text.get("type") not in kinds or not isinstance(text.get("text"), str):
        return f"must be a text object of type {' or '.join(kinds)}"
    if not 1 <= len(text["text"]) <= longest:
        return f"must be 1 to {longest} characters"
    return None


def _texts(value: Any, *, only_markdown: bool = False) -> list[str]:
    """All texts inside blocks; mentions work in mrkdwn only."""
    if isinstance(value, list):
        return [text for one in value for text in _texts(one, only_markdown=only_markdown)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("text"), str):
        return [] if only_markdown and value.get("type") != "mrkdwn" else [value["text"]]
    return [text for one in value.values() for text in _texts(one, only_markdown=only_markdown)]


def _arguments(request: Request) -> dict[str, Any]:
    if request.body and request.header("content-type").startswith("application/json"):
        try:
            given = request.json()
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(given, dict):
            raise SlackError("json_not_object")
        return given
    return {**{name: values[-1] for name, values in request.query.items()}, **request.form()}


def _list(value: Any, error: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise SlackError(error) from None
    if value is not None and not isinstance(value, list):
        raise SlackError(error)
    return value or []


if __name__ == "__main__":
    run(lambda port: FakeSlack(port=port))
