"""Chatter: posting to a record's feed and looking for what was posted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import rest
from .errors import SalesforceError, not_found
from .store import Record
from .values import long_id

if TYPE_CHECKING:
    from .org import FakeSalesforce


def answer(org: FakeSalesforce, call: rest.Call, parts: list[str]) -> rest.Reply:
    match parts:
        case ["feed-elements"] if call.method == "POST":
            return _post(org, call)
        case ["feed-elements"] if call.method == "GET":
            return _search(org, call, _posts(org))
        case ["feed-elements", post_id] if call.method == "GET":
            return rest.Reply(200, _shown(org.store.get(org.store.sobject("FeedItem"), post_id), call))
        case ["feed-elements", post_id] if call.method == "DELETE":
            org.store.delete(org.store.sobject("FeedItem"), post_id)
            return rest.Reply(204)
        case ["feeds", "record", record_id, "feed-elements"] if call.method == "GET":
            wanted = long_id(record_id)
            found = [post for post in _posts(org) if post["ParentId"] == wanted]
            if "q" in call.query:
                return _search(org, call, found)
            return rest.Reply(200, {"elements": [_shown(post, call) for post in found], "nextPageUrl": None})
    raise not_found()


def _post(org: FakeSalesforce, call: rest.Call) -> rest.Reply:
    body = call.object()
    if body.get("feedElementType") != "FeedItem":
        raise SalesforceError("INVALID_INPUT", "feedElementType is required")
    segments = (body.get("body") or {}).get("messageSegments")
    if not isinstance(segments, list) or not segments:
        raise SalesforceError("INVALID_INPUT", "body.messageSegments is required")
    fields = {"ParentId": body.get("subjectId"), "Body": "".join(_text(org, one) for one in segments)}
    post = org.store.insert(org.store.sobject("FeedItem"), fields)
    return rest.Reply(201, _shown(post, call))


def _text(org: FakeSalesforce, segment: dict[str, Any]) -> str:
    match segment.get("type"):
        case "Text":
            return str(segment["text"])
        case "Link":
            return str(segment["url"])
        case "Mention":
            person = org.store.get(org.store.sobject("User"), str(segment.get("id")))
            return f"@{person['Name']}"
        case "MarkupBegin" | "MarkupEnd":
            return ""
    raise SalesforceError("JSON_PARSER_ERROR", f"Unknown message segment type: {segment.get('type')}")


def _search(org: FakeSalesforce, call: rest.Call, posts: list[Record]) -> rest.Reply:
    words = call.query.get("q", "")
    if len(words) < 2:
        raise SalesforceError("INVALID_INPUT", "q must have at least two characters")
    found = [post for post in posts if words.casefold() in post["Body"].casefold()]
    return rest.Reply(200, {"elements": [_shown(post, call) for post in found], "nextPageUrl": None})


def _posts(org: FakeSalesforce) -> list[Record]:
    """Living posts, the newest first."""
    with org.store.lock:
        return [post for post in reversed(org.store.table("FeedItem").values()) if not post["IsDeleted"]]


def _shown(post: Record, call: rest.Call) -> dict[str, Any]:
    return {
        "id": post["Id"], "feedElementType": "FeedItem", "createdDate": post["CreatedDate"],
        "parent": {"id": post["ParentId"]}, "body": {"text": post["Body"], "isRichText": False},
        "url": f"/services/data/{call.version}/chatter/feed-elements/{post['Id']}",
    }  # fmt: skip
