"""The e-mail channel: carries alerts to whom they name, else to whom the connection does, and summaries."""

from __future__ import annotations

import hashlib
import smtplib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from crm.channels.kinds import ChannelError, Dropped, Outcome, Parcel, Permanent, Sent, Transient

if TYPE_CHECKING:
    from crm.models import Message


SUMMARY = "summary"


class EmailChannel:
    """Sends each alert to all addresses at once, a summary to its one. Both were asked for: they go in shadow mode too.

    An alert may come twice after a lost answer, which does no harm. A summary never does.
    """

    name = "email"
    work = "messages"
    batch = 20

    def is_open(self, *, now: datetime) -> bool:
        return True

    def deliver(self, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
        from crm.channels.salesforce import current_org

        org = current_org()
        alerted = org.alert_email if org else ""
        outcomes = summaries([row for row in parcel.rows if row.topic == SUMMARY])
        for row in parcel.rows:
            if row.topic == SUMMARY:
                continue
            to = [one.strip() for one in row.body.get("to", alerted).split(",") if one.strip()]
            if not to:
                outcomes[row.ref] = Dropped("no_receiver", "No address for alerts is set any more.")
                continue
            try:
                _send(row, to)
                outcomes[row.ref] = Sent(row.body)
            except ChannelError as error:
                outcomes[row.ref] = error
        return outcomes


def summaries(rows: Sequence[Message]) -> dict[int, Outcome]:
    """Send each summary once; whether one arrived that broke off is for a person to find out."""
    from django.core.mail import get_connection

    from crm import summary_words
    from crm.channels import once

    outcomes: dict[int, Outcome] = {}
    names = customer_names({pk for row in rows for pk in summary_words.customers(row.body)})
    for row in rows:
        stopped = once.begin(row)
        if stopped is not None:
            outcomes[row.ref] = stopped
            continue
        connection = get_connection()
        try:
            connection.open()
        except (smtplib.SMTPException, OSError) as error:
            once.not_left(row)
            outcomes[row.ref] = _unreachable(error)
            continue
        outcomes[row.ref] = _send_summary(row, names, connection)
    return outcomes


def customer_names(pks: Collection[int]) -> dict[int, str]:
    """Return the names of customers by our key, as they are now."""
    from billing import selectors as billing

    return {pk: row.name or row.stripe_id for pk, row in billing.customers(pks).items()} if pks else {}


def _send_summary(row: Message, names: Mapping[int, str], connection: Any) -> Outcome:
    from crm.channels import once

    try:
        _summary_mail(row, names, connection).send()
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPResponseException) as refusal:
        once.not_left(row)
        if _is_for_now(refusal):
            return _unreachable(refusal)
        return Permanent("mail_refused", "The mail server refused this summary. Correct its address.")
    except (smtplib.SMTPException, OSError) as error:
        return once.unsure(f"The connection ended before the mail server's answer ({type(error).__name__}).")
    finally:
        with suppress(smtplib.SMTPException, OSError):
            connection.close()
    return Sent(row.body)


def _is_for_now(refusal: smtplib.SMTPException) -> bool:
    """Say whether the server would take it later: a code of four hundred and something."""
    if isinstance(refusal, smtplib.SMTPRecipientsRefused):
        return all(400 <= code < 500 for code, _ in refusal.recipients.values())
    return 400 <= int(getattr(refusal, "smtp_code", 550)) < 500


def _summary_mail(row: Message, names: Mapping[int, str], connection: Any) -> Any:
    """Return the mail, text and HTML; its Message-ID is that of the message, so that copies are seen to be one."""
    from django.conf import settings
    from django.core.mail import EmailMultiAlternatives
    from django.template.loader import render_to_string

    from crm import summary_words

    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    mark = hashlib.sha256(row.dedupe_key.encode()).hexdigest()[:32]
    mail = EmailMultiAlternatives(
        row.body["title"],
        summary_words.text(row.body, names),
        to=[row.body["to"]],
        headers={"Message-ID": f"<{mark}@{domain}>", "Auto-Submitted": "auto-generated"},
        connection=connection,
    )
    found = {"body": row.body, "sections": summary_words.sections(row.body, names)}
    mail.attach_alternative(render_to_string("email/summary.html", found), "text/html")
    return mail


def _unreachable(error: Exception) -> Transient:
    text = f"The mail server does not take the message now ({type(error).__name__})."
    return Transient("mail_unreachable", text)


def _send(row: Message, to: list[str]) -> None:
    """Send one alert; a second copy, after an answer that was lost, does no harm."""
    from django.core.mail import EmailMessage

    text = "\n\n".join(filter(None, (row.body.get("text"), row.body.get("url"))))
    try:
        EmailMessage(row.body["title"], text, to=to).send()
    except smtplib.SMTPRecipientsRefused:
        raise Permanent("mail_refused", "The mail server refused the addresses for alerts. Correct them.") from None
    except (smtplib.SMTPException, OSError) as error:
        raise _unreachable(error) from None
