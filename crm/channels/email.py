"""The e-mail channel: carries alerts to whom they name, else to whom the connection does."""

from __future__ import annotations

import smtplib
from datetime import datetime
from typing import TYPE_CHECKING

from crm.channels.kinds import ChannelError, Dropped, Outcome, Parcel, Permanent, Sent, Transient

if TYPE_CHECKING:
    from crm.models import Message


class EmailChannel:
    """Sends each alert to all addresses at once; it goes in shadow mode too, for it is no news of a customer."""

    name = "email"
    work = "messages"
    batch = 20

    def is_open(self, *, now: datetime) -> bool:
        return True

    def deliver(self, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
        from crm.channels.salesforce import current_org

        org = current_org()
        alerted = org.alert_email if org else ""
        outcomes: dict[int, Outcome] = {}
        for row in parcel.rows:
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


def _send(row: Message, to: list[str]) -> None:
    """Send one alert; a second copy, after an answer that was lost, does no harm."""
    from django.core.mail import EmailMessage

    text = "\n\n".join(filter(None, (row.body.get("text"), row.body.get("url"))))
    try:
        EmailMessage(row.body["title"], text, to=to).send()
    except smtplib.SMTPRecipientsRefused:
        raise Permanent("mail_refused", "The mail server refused the addresses for alerts. Correct them.") from None
    except (smtplib.SMTPException, OSError) as error:
        text = f"The mail server does not take the message now ({type(error).__name__})."
        raise Transient("mail_unreachable", text) from None
