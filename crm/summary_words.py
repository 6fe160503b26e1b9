"""Writes a summary as text, as Slack takes it, and as the parts of an HTML mail. Pure.

A summary is kept as facts, its customers by our key alone: their names are put in when it is sent, so that whoever is
forgotten is in no message that was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crm.messages import escaped

LONGEST_NAME = 80
LONGEST_TEXT = 2_900  # of a section in Slack, with room


def customers(body: Mapping[str, Any]) -> set[int]:
    """Return the keys of the customers that a summary names."""
    return {one["customer"] for one in body.get("movements", ()) if one.get("customer")}


def text(body: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Return a summary as plain text: one line where nothing moved and nothing waits."""
    parts = ["\n".join(body["lines"])]
    for title, rows in sections(body, names):
        lines = [
            f"- {words}{f': {amount}' if amount else ''}{f' ({url})' if url else ''}" for words, amount, url in rows
        ]
        parts.append("\n".join([title, *lines]))
    parts.append("\n".join(f"{words}: {url}" for words, url in body["links"]))
    parts.append(body.get("note", ""))
    return "\n\n".join(part for part in parts if part) + "\n"


def sections(body: Mapping[str, Any], names: Mapping[int, str]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the lists of a summary: their title and rows of words, amount and address; empty ones are left out."""
    moved = [(_named(one, names), one["amount"], one["url"]) for one in body.get("movements", ())]
    found = [
        (body.get("reasons_title", ""), [(words, amount, "") for words, amount in body.get("reasons", ())]),
        (body.get("movements_title", ""), moved),
        (body.get("needs_title", ""), [(words, amount, url) for words, amount, url in body.get("needs", ())]),
    ]
    return [(title, rows) for title, rows in found if rows]


def slack(body: Mapping[str, Any], names: Mapping[int, str], *, channel: str) -> dict[str, Any]:
    """Return a summary as Slack's chat.postMessage takes it; nothing that people named is a link or rings anybody."""
    blocks = [_section([f"*{escaped(body['title'])}*", *map(escaped, body["lines"])])]
    for title, rows in sections(body, names):
        blocks.append(_section([f"*{escaped(title)}*", *(_line(*row) for row in rows)]))
    links = " · ".join(f"<{url}|{escaped(words)}>" for words, url in body["links"])
    if links:
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": links}]})
    return {"channel": channel, "text": escaped(body["title"]), "blocks": blocks}


def _line(words: str, amount: str, url: str) -> str:
    said = f"<{url}|{escaped(words)}>" if url else escaped(words)
    return f"• {said}{f'  {escaped(amount)}' if amount else ''}"


def _section(lines: Iterable[str]) -> dict[str, Any]:
    kept: list[str] = []
    for line in lines:  # a line is kept whole or not at all: half a link would not be one
        if sum(map(len, kept)) + len(kept) + len(line) <= LONGEST_TEXT:
            kept.append(line)
    return {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(kept)}}


def _named(one: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """Put a customer's name before what happened, on one line and not longer than a line is."""
    name = _clean(names.get(one.get("customer") or 0, ""))
    return f"{name}: {one['text']}" if name else str(one["text"])


def _clean(name: str) -> str:
    words: Sequence[str] = "".join(sign if sign.isprintable() else " " for sign in name).split()
    line = " ".join(words).replace("|", "/")
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"
