"""How the Salesforce connection stands for whoever sets it up: the login's health, what the org lacks, the mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from billing.selectors import Check, State
from crm.channels.salesforce import mapping
from crm.channels.salesforce.fields import ACCOUNT, MRR_SCHEDULE, NEEDED, OPPORTUNITY, TASK
from crm.models import MirrorRead, SalesforceOrg

SHOWN = (ACCOUNT, OPPORTUNITY, MRR_SCHEDULE, TASK)  # orgs have names of their own for the first
WAYS = {"web": "A person signed in", "client": "Client credentials", "jwt": "JWT bearer", "": "Nothing"}


@dataclass(frozen=True, slots=True)
class FindingRow:
    """What the last check found; a remark may refuse a write, anything else would."""

    sobject: str
    field: str
    code: str
    text: str
    is_remark: bool


@dataclass(frozen=True, slots=True)
class SetUp:
    """The connection as set-up sees it, without its secrets. `way` is web, client or jwt."""

    instance_url: str
    login_url: str
    client_id: str
    username: str
    way: str
    org_id: str
    user_id: str
    is_sandbox: bool | None
    is_demo: bool
    mode: str
    api_version: str
    won_stage: str
    token_at: datetime | None
    error_code: str
    error: str
    error_at: datetime | None
    paused_until: datetime | None
    app_known_by: datetime | None
    is_deploying: bool
    checked_at: datetime | None
    findings: tuple[FindingRow, ...]
    mirrored_to: datetime | None
    has_callback_secret: bool

    @property
    def is_connected(self) -> bool:
        return bool(self.api_version) and not self.error_code and not self.is_demo

    @property
    def missing(self) -> list[FindingRow]:
        return [one for one in self.findings if not one.is_remark]

    @property
    def remarks(self) -> list[FindingRow]:
        return [one for one in self.findings if one.is_remark]


@dataclass(frozen=True, slots=True)
class ReadRow:
    """How far one object is read; `total` is None until Salesforce said it, `error_code` why it may not be read."""

    sobject: str
    kept: int
    total: int | None
    is_done: bool
    error_code: str


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One field we write, and where: `their_field` is empty when it is not written."""

    sobject: str
    field: str
    label: str
    about: str
    their_field: str
    is_key: bool
    values: tuple[tuple[str, str], ...]

    @property
    def is_own(self) -> bool:
        return self.their_field == self.field and all(ours == theirs for ours, theirs in self.values)


def salesforce_set_up() -> SetUp | None:
    """Return how the connection stands; None when there is none. One query."""
    row = SalesforceOrg.objects.order_by("pk").first()
    if row is None:
        return None
    way = "web" if row.refresh_token else "jwt" if row.jwt_key else "client" if row.client_secret else ""
    return SetUp(
        instance_url=row.instance_url,
        login_url=row.login_url,
        client_id=row.client_id,
        username=row.username,
        way=way,
        org_id=row.org_id,
        user_id=row.integration_user_id,
        is_sandbox=row.is_sandbox,
        is_demo=row.is_demo,
        mode=row.mode,
        api_version=row.api_version,
        won_stage=row.won_stage,
        token_at=row.token_at,
        error_code=row.error_code,
        error=row.error,
        error_at=row.error_at,
        paused_until=row.paused_until,
        app_known_by=row.app_known_by,
        is_deploying=bool(row.deploy_id),
        checked_at=row.checked_at,
        findings=tuple(
            FindingRow(one["sobject"], one["field"], one["code"], one["text"], one["is_remark"]) for one in row.findings
        ),
        mirrored_to=row.mirrored_to,
        has_callback_secret=bool(row.callback_secret),
    )


def mirror_reads() -> list[ReadRow]:
    """Return how far each object is in the read that is under way; nothing when all is read. One query."""
    rows = list(MirrorRead.objects.order_by("sobject"))
    if all(row.ended_at is not None for row in rows):
        rows = [row for row in rows if row.error_code]
    return [ReadRow(row.sobject, row.kept, row.total, row.ended_at is not None, row.error_code) for row in rows]


def checks(org: SetUp | None, *, now: datetime) -> list[Check]:
    """Say how the connection stands and what the org lacks, as whoever sets it up would look."""
    if org is None or org.is_demo:
        sentence = "No Salesforce org is connected: customers stay unmatched, and what is owed is held."
        return [Check("Salesforce", State.TODO, sentence, "not_connected", "Connect one on the Salesforce page.")]
    if org.error_code:
        cure = "Sign in again on the Salesforce page. Nothing is lost meanwhile."
        return [Check("Salesforce", State.MEND, org.error or org.error_code, org.error_code, cure)]
    if org.app_known_by:
        until = f"{org.app_known_by:%H:%M} UTC"
        sentence = f"Salesforce does not know the app yet. A new app takes up to ten minutes; we try until {until}."
        cure = "Wait. If it stays: compare the consumer key with that on the app's page in Setup, and connect again."
        return [Check("Salesforce", State.MEND, sentence, "invalid_client_id", cure)]
    if org.paused_until and org.paused_until > now:
        sentence = f"Sending is paused until {org.paused_until:%H:%M} UTC."
        return [Check("Salesforce", State.MEND, sentence, "sending_paused", "Wait, or look at the org's limits.")]
    what = "recorded as would send" if org.mode == "shadow" else "written"
    return [
        Check("Salesforce", State.OK, f"{org.instance_url} is in {org.mode} mode: changes are {what}."),
        *_org_checks(org),
    ]


def _org_checks(org: SetUp) -> list[Check]:
    if org.checked_at is None:
        cure = "Press Check on the Salesforce page, or run manage.py setup_salesforce --check."
        return [Check("set-up", State.TODO, "The org was not compared with what we write yet.", "not_compared", cure)]
    cure = (
        "Deploy what is missing on the Salesforce page, or run manage.py setup_salesforce --deploy; then check again."
    )
    alike: dict[tuple[str, str], list[FindingRow]] = {}
    for row in org.missing:
        alike.setdefault((row.sobject, row.code), []).append(row)
    found = []
    for rows in alike.values():
        first = rows[0]
        more = f" So it is with {len(rows)} fields of {first.sobject}." if len(rows) > 1 else ""
        found.append(Check("set-up", State.MEND, f"{first.text}{more}", first.code, cure))
    return found or [Check("set-up", State.OK, "The org has every object, field and right that we write with.")]


def mapping_rows() -> dict[str, list[MappingRow]]:
    """Return every field we write by object, with its name and words in the connected org. Two queries."""
    found = mapping.of(SalesforceOrg.objects.order_by("pk").first())
    rows: dict[str, list[MappingRow]] = {sobject: [] for sobject in SHOWN}
    for one in NEEDED:
        if (one.sobject, one.name) not in mapping.FIXED:
            rows[one.sobject].append(
                MappingRow(
                    one.sobject,
                    one.name,
                    one.label or one.name,
                    one.about or "Salesforce's own field.",
                    found.name(one.sobject, one.name),
                    one.is_key,
                    _words(one.values, found.targets.get((one.sobject, one.name))),
                )
            )
    return rows


def _words(values: tuple[str, ...], target: mapping.Target | None) -> tuple[tuple[str, str], ...]:
    known: Mapping[str, str] = target.values if target else {}
    listed = dict.fromkeys([*values, *known])
    return tuple((value, known.get(value, value)) for value in listed)
