"""Sets the connected org up: compares, deploys, and changes the mapping; for the command and the page alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from crm.channels.kinds import ChannelError
from crm.channels.salesforce import checks, mapping, setup, trial
from crm.channels.salesforce.checks import Finding
from crm.channels.salesforce.mapping import FieldMap
from crm.channels.salesforce.setup import Deployed
from crm.channels.salesforce.trial import Tried
from crm.connections import in_words
from crm.models import Mode, SalesforceOrg


class NotDone(Exception):
    """The org could not be set up; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What became of a mapping: what was tried, whether it is in use now, and the objects whose records go anew."""

    tried: Sequence[Tried]
    is_kept: bool
    changed: Sequence[str] = ()

    @property
    def refused(self) -> list[Tried]:
        return [one for one in self.tried if one.is_taken is False]


def check(*, now: datetime, report: Callable[[str], None] = lambda what: None) -> list[Finding]:
    """Compare what we write with what the org has and keep what was found; raises NotDone."""
    from crm.channels.salesforce.client import Client

    org = _connected()
    try:
        with Client(org, now=now) as client:
            findings = setup.check(client, report=report)
            setup.keep(client, findings, now=now)
    except ChannelError as error:
        raise NotDone(in_words(error)) from None
    return findings


def deploy(
    *,
    now: datetime,
    within_seconds: float = setup.DEPLOY_SECONDS,
    report: Callable[[str], None] = lambda what: None,
) -> tuple[Deployed, list[Finding]]:
    """Deploy what the org lacks and compare again; raises NotDone."""
    from crm.channels.salesforce.client import Client

    org = _connected()
    try:
        with Client(org, now=now) as client:
            done = setup.deploy(client, within_seconds=within_seconds, report=report)
            findings = setup.check(client, report=report) if done.is_done else []
            if done.is_done:
                setup.keep(client, findings, now=now)
    except ChannelError as error:
        raise NotDone(in_words(error)) from None
    return done, findings


def use_mapping(text: str | bytes, *, now: datetime) -> Mapped:
    """Take a mapping from a file: it is tried, and kept where nothing was refused. Raises NotDone."""
    try:
        wanted, stage = mapping.read(text)
    except mapping.BadMapping as error:
        raise NotDone(str(error)) from None
    return change_mapping(wanted, stage, now=now)


def change_mapping(wanted: FieldMap, stage: str, *, now: datetime) -> Mapped:
    """Try a mapping, and keep it where nothing was refused; raises NotDone.

    A live connection writes a record of each kind, which Salesforce takes back; in shadow mode it is only compared and
    described.
    """
    from crm.channels.salesforce.client import Client

    org = _connected()
    try:
        with Client(org, now=now) as client:
            _check_stage(client.org, checks.won_stages(client) if stage else [], stage)
            findings = setup.check(client, theirs=wanted)
            blocking = [one for one in findings if not one.is_remark and _is_new(one, wanted)]
            if blocking:
                raise NotDone(f"Nothing was changed. {blocking[0].text}")
            is_live = org.mode == Mode.LIVE
            tried = trial.run(client, wanted, now=now) if is_live else trial.describe(wanted, now=now)
            found = Mapped(tried, is_kept=False)
            if found.refused:
                return found
            if stage:
                SalesforceOrg.objects.filter(pk=org.pk).update(won_stage=stage, is_won_stage_chosen=True)
            changed = mapping.save(org, wanted, now=now)
            setup.keep(client, findings, now=now)
    except ChannelError as error:
        raise NotDone(in_words(error)) from None
    return Mapped(tried, is_kept=True, changed=changed)


def mapping_file() -> str:
    """Return the mapping in use as a file to change and give back; without a connection it holds our own names."""
    org = SalesforceOrg.objects.order_by("pk").first()
    return mapping.written(mapping.of(org), won_stage=org.won_stage if org else "")


def _connected() -> SalesforceOrg:
    org = SalesforceOrg.objects.order_by("pk").first()
    if org is None or org.is_demo or not org.org_id:
        raise NotDone("No Salesforce org is connected. Connect one first.")
    if org.error_code:
        raise NotDone(f"{org.error} ({org.error_code})")
    return org


def _check_stage(org: SalesforceOrg, won: Sequence[str], stage: str) -> None:
    if stage and stage not in won:
        raise NotDone(f"'{stage}' is not an active won stage. The org has: {', '.join(won) or 'none'}.")


def _is_new(finding: Finding, wanted: FieldMap) -> bool:
    """Say whether a finding is about a field that the mapping names: what is missing anyway is no reason against it."""
    names = {(key[0], target.name) for key, target in wanted.targets.items()}
    return (finding.sobject, finding.field) in names
