"""How work leaves: the channels, and the words they share with the outbox."""

from __future__ import annotations

from crm.channels.kinds import (
    Channel,
    ChannelError,
    Dropped,
    Held,
    LookedUp,
    Outcome,
    Parcel,
    Permanent,
    Postponed,
    Sent,
    Transient,
    Unclear,
    Wait,
    WouldSend,
)

__all__ = [
    "CHANNELS",
    "Channel",
    "ChannelError",
    "Dropped",
    "Held",
    "LookedUp",
    "Outcome",
    "Parcel",
    "Permanent",
    "Postponed",
    "Sent",
    "Transient",
    "Unclear",
    "Wait",
    "WouldSend",
]

from crm.channels.email import EmailChannel
from crm.channels.salesforce import SalesforceChannel
from crm.channels.slack import SlackChannel

CHANNELS: list[Channel] = [SalesforceChannel(), SlackChannel(), EmailChannel()]
