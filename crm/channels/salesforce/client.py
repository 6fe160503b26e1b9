"""One org's REST API in our words: queries, composite requests and describes, with our kinds of failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from crm.channels.kinds import ChannelError, Transient, Unclear, Wait
from crm.channels.salesforce import budget, errors, oauth
from crm.channels.salesforce.session import PinnedSession
from crm.models import SalesforceOrg

FIRST_VERSION = "60.0"  # before the newest is found
Answer = TypeVar("Answer")


class Client:
    """Talks to one org. Not kept between rounds: a token may be renewed by another worker at any time."""

    def __init__(self, org: SalesforceOrg, *, now: datetime) -> None:
        self.org = org
        self.now = now
        self.session = PinnedSession([org.instance_url])
        self._token = org.access_token

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        if isinstance(failure, Wait):
            self.pause(failure)
        self.close()

    def pause(self, wait: Wait) -> None:
        """Close the lane for everybody until nobody is refused any more."""
        SalesforceOrg.objects.filter(pk=self.org.pk).update(paused_until=wait.until)

    def newest_version(self) -> str:
        """Return the newest API version the org offers, such as 65.0. Needs no login."""
        found = self._heard(
            lambda: self.session.get(f"{self.org.instance_url.rstrip('/')}/services/data/"), is_write=False
        )
        try:
            versions = [str(one["version"]) for one in found.json()]
            return max(versions, key=float)
        except (ValueError, KeyError, TypeError):
            text = "The instance URL does not answer like Salesforce. Use the My Domain address of the org."
            raise Transient("not_salesforce", text) from None

    def query(self, soql: str, *, with_deleted: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the records of a query, page by page; `with_deleted` sees the recycle bin too."""
        page = self._call(lambda sf: sf.query(soql, include_deleted=with_deleted), is_write=False)
        while True:
            yield from page["records"]
            if not (following := page_after(page)):
                return
            page = self.page(following)

    def page(self, address: str) -> dict[str, Any]:
        """Return a further page of a query, by the address that the page before gave."""
        found = self._call(lambda sf: sf.query_more(address, identifier_is_url=True), is_write=False)
        return found if isinstance(found, dict) else {}

    def first_pages(self, queries: Sequence[str]) -> list[dict[str, Any] | ChannelError]:
        """Return the first page of each of five queries at most, deleted records too, or its refusal. One read."""
        start = f"/services/data/v{self.org.api_version or FIRST_VERSION}/queryAll?q="
        answers = self.composite(
            [
                {"method": "GET", "url": f"{start}{quote(soql)}", "referenceId": f"q{number}"}
                for number, soql in enumerate(queries)
            ],
            is_write=False,
        )
        found: list[dict[str, Any] | ChannelError] = []
        for answer in answers:
            status, body = int(answer.get("httpStatusCode") or 0), answer.get("body")
            refusal = None if status == 200 else errors.from_answer(status, body, is_write=False, now=self.now)
            found.append(refusal or (body if isinstance(body, dict) else {}))
        return found

    def query_job(self, soql: str) -> str:
        """Have Salesforce work a query out by Bulk API 2.0, deleted records too; returns the job's id."""
        asked = {"operation": "queryAll", "query": soql, "contentType": "CSV", "lineEnding": "LF"}
        answer = self._call(lambda sf: sf.restful("jobs/query", method="POST", json=asked), is_write=False)
        found = str(answer.get("id") or "") if isinstance(answer, dict) else ""
        if not found:
            raise Transient("UNREADABLE_ANSWER", "Salesforce did not say the id of the Bulk job.")
        return found

    def composite(self, parts: Sequence[dict[str, Any]], *, is_write: bool = True) -> list[dict[str, Any]]:
        """Send one Composite request, one API call, and return the answers of its parts; they succeed or fail alone."""
        body = {"allOrNone": False, "compositeRequest": list(parts)}
        answer = self._call(lambda sf: sf.restful("composite", method="POST", json=body), is_write=is_write)
        found = answer.get("compositeResponse") if isinstance(answer, dict) else None
        if not isinstance(found, list) or len(found) != len(parts):
            kind = Unclear if is_write else Transient
            raise kind("UNREADABLE_ANSWER", "Salesforce's answer does not speak of each part.")
        return found

    def ask_limits(self) -> None:
        """Ask how many calls are free, even while sending stopped at the reserve; the answer goes to the budget."""
        self._call(lambda sf: sf.restful("limits"), is_write=False, is_probe=True)

    def describe(self, sobject: str) -> dict[str, Any] | None:
        """Return what the integration user sees of an object; None when it sees none of it."""
        try:
            found = self._call(lambda sf: sf.restful(f"sobjects/{sobject}/describe"), is_write=False)
        except ChannelError as refusal:
            if refusal.code in ("NOT_FOUND", "INVALID_TYPE"):
                return None
            raise
        return found if isinstance(found, dict) else None

    def tooling(self, soql: str) -> list[dict[str, Any]]:
        """Return the records of a query of the Tooling API: rules and fields as set-up knows them."""
        answer = self.restful("tooling/query", params={"q": soql})
        return list(answer.get("records", ())) if isinstance(answer, dict) else []

    def restful(self, path: str, *, method: str = "GET", params: dict[str, str] | None = None, json: Any = None) -> Any:
        """Make one call of a resource that has no method of its own here; None for an answer without a body."""
        options = {"json": json} if json is not None else {}
        return self._call(
            lambda sf: sf.restful(path, params=params, method=method, **options), is_write=method != "GET"
        )

    def retrieve(self, sobject: str, ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any] | None]:
        """Return up to 2,000 records by their ids, None for each that is gone or may not be seen. One reading call."""
        body = {"ids": list(ids), "fields": list(fields)}
        path = f"composite/sobjects/{sobject}"
        found = self._call(lambda sf: sf.restful(path, method="POST", json=body), is_write=False)
        if not isinstance(found, list) or len(found) != len(ids):
            raise Transient("UNREADABLE_ANSWER", "Salesforce's answer does not speak of each record.")
        return found

    def upload(self, path: str, parts: dict[str, tuple[str | None, bytes, str]]) -> Any:
        """Post a form of several parts, each (file name, content, content type); the header of this call alone."""
        return self._call(
            lambda sf: sf.restful(path, method="POST", files=parts, headers={"Content-Type": None}), is_write=True
        )

    def put_csv(self, path: str, content: bytes) -> None:
        """Give a Bulk job its rows."""
        headers = {"Content-Type": "text/csv; charset=UTF-8"}
        self._call(
            lambda sf: sf._call_salesforce("PUT", f"{sf.base_url}{path}", data=content, headers=headers), is_write=True
        )

    def text(self, path: str) -> str:
        """Return the answer of a resource that is no JSON."""
        return self.text_with_headers(path)[0]

    def text_with_headers(self, path: str, params: Mapping[str, str] | None = None) -> tuple[str, Mapping[str, str]]:
        """Return the answer of a resource that is no JSON, and its headers."""
        response = self._call(
            lambda sf: sf._call_salesforce("GET", f"{sf.base_url}{path}", params=dict(params or {})), is_write=False
        )
        return str(response.content.decode("utf-8", "replace")), response.headers

    # Calling

    def _call(self, ask: Callable[[Any], Answer], *, is_write: bool, is_probe: bool = False) -> Answer:
        """Call once; with a dead token renew it and call once more."""
        if not self._token:
            self._token = oauth.renewed(self.org.pk, dead="", now=self.now)
        try:
            return self._counted(ask, is_write=is_write, is_probe=is_probe)
        except ChannelError as refusal:
            if refusal.code != errors.DEAD_SESSION or self.org.pk is None:
                raise
        self._token = oauth.renewed(self.org.pk, dead=self._token, now=self.now)
        return self._counted(ask, is_write=is_write, is_probe=is_probe)

    def _counted(self, ask: Callable[[Any], Answer], *, is_write: bool, is_probe: bool) -> Answer:
        """Call within the budget, and keep what the answer says of the org's calls. Raises Wait at the reserve."""
        if self.org.pk is not None:
            budget.spend(self.org.pk, is_write=is_write, now=self.now, is_probe=is_probe)
        self.session.usage = None
        try:
            return self._heard(lambda: ask(self._salesforce()), is_write=is_write)
        finally:
            if self.session.usage:
                used, limit = self.session.usage
                budget.heard(self.org, used=used, limit=limit, now=self.now)

    def _salesforce(self) -> Any:
        from simple_salesforce.api import Salesforce

        return Salesforce(
            instance_url=self.org.instance_url,
            session_id=self._token,
            session=self.session,
            version=self.org.api_version or FIRST_VERSION,
        )

    def _heard(self, ask: Callable[[], Answer], *, is_write: bool) -> Answer:
        """Turn every way a call can fail into one of the four kinds."""
        from simple_salesforce.exceptions import SalesforceError

        try:
            return ask()
        except SalesforceError as refusal:
            raise errors.from_answer(refusal.status, refusal.content, is_write=is_write, now=self.now) from None
        except requests.exceptions.SSLError:
            text = "The host's certificate is not trusted. REQUESTS_CA_BUNDLE names the file of trusted ones."
            raise Wait("tls", text, until=self.now + errors.OUTAGE_PAUSE) from None
        except (requests.exceptions.ConnectTimeout, requests.exceptions.InvalidURL):
            raise Transient("unreachable", "Salesforce does not answer; nothing was sent.") from None
        except requests.exceptions.ConnectionError as cut:
            if "NewConnectionError" in repr(cut) or "NameResolutionError" in repr(cut):
                raise Transient("unreachable", "Salesforce does not answer; nothing was sent.") from None
            raise _cut(is_write) from None
        except (requests.exceptions.RequestException, ValueError):
            # Too late, cut short, or 200 with a page for people: the write may stand.
            raise _cut(is_write) from None


def page_after(page: Mapping[str, Any]) -> str:
    """Return the address of the page that follows one of a query; empty for the last."""
    return "" if page.get("done", True) else str(page.get("nextRecordsUrl") or "")


def _cut(is_write: bool) -> ChannelError:
    if is_write:
        return Unclear(
            "no_answer", "The connection ended before Salesforce's answer could be read: the write may stand."
        )
    return Transient("no_answer", "The connection ended before Salesforce's answer could be read.")
