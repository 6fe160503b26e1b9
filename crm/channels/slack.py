"""The Slack channel: tells closed-won movements, or says what it would tell."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings

from crm.channels import told
from crm.channels.kinds import ChannelError, Dropped, Outcome, Parcel, Permanent, Sent, Transient, Unclear, WouldSend

if TYPE_CHECKING:
    from crm.models import Message
    from mrr.selectors import Movement

SECONDS = 10
TOLD = frozenset({"new", "reactivation"})
ALERT = "alert"
SUMMARY = "summary"
ASKED_FOR = (ALERT, SUMMARY)  # by people, in settings: they go in shadow mode too
TRY_AGAIN = frozenset(
    "ratelimited rate_limited internal_error fatal_error service_unavailable request_timeout invalid_auth not_authed "
    "token_revoked token_expired account_inactive".split()
)


class SlackChannel:
    """Carries messages to Slack's channels. Shadow covers Slack too: while Salesforce is not live, only alerts and
    summaries go."""

    name = "slack"
    work = "messages"
    batch = 50

    def is_open(self, *, now: datetime) -> bool:
        return bool(settings.SLACK_BOT_TOKEN)

    def deliver(self, parcel: Parcel, *, now: datetime) -> dict[int, Outcome]:
        """Tell each message as its movement stands now; one that was taken back, or is too old, is dropped."""
        from crm.models import Mode, SalesforceOrg

        outcomes: dict[int, Outcome] = {}
        is_live = SalesforceOrg.objects.filter(mode=Mode.LIVE, is_demo=False).exists()
        stopped: ChannelError | None = None
        alerts = [row for row in parcel.rows if row.topic == ALERT]
        summaries = {row.ref: row for row in parcel.rows if row.topic == SUMMARY}
        wins = tuple(row for row in parcel.rows if row.topic not in ASKED_FOR)
        asked_for = {row.ref for row in alerts} | summaries.keys()
        said = _alert_bodies(alerts) | _summary_bodies(list(summaries.values())) | _bodies(wins, now=now)
        for pk, body in said.items():
            if isinstance(body, Dropped):
                outcomes[pk] = body
            elif not is_live and pk not in asked_for:
                outcomes[pk] = WouldSend(body)
            elif stopped is not None:
                outcomes[pk] = stopped
            elif pk in summaries:
                outcomes[pk] = _post_once(summaries[pk], body)
            else:
                try:
                    outcomes[pk] = Sent(body, their_id=_post(body))
                except Transient as error:
                    outcomes[pk] = stopped = error
                except Unclear as error:
                    # Slack has no key to post by, so a person looks before it is told twice.
                    text = f"{error.message} Look into the channel, then retry or leave it."
                    outcomes[pk] = Permanent(error.code, text)
                except ChannelError as error:
                    outcomes[pk] = error
        return outcomes


def is_configured() -> bool:
    """Say whether there is a token and a channel to tell closed-won movements in."""
    return bool(settings.SLACK_BOT_TOKEN and settings.SLACK_CLOSED_WON_CHANNEL)


# ---- what to say ----


def _bodies(rows: tuple[Message, ...], *, now: datetime) -> dict[int, dict[str, Any] | Dropped]:
    from crm import selectors as crm

    accounts = crm.accounts_of({row.customer_id for row in rows if row.customer_id is not None})
    bodies: dict[int, dict[str, Any] | Dropped] = {}
    for ref, movement in told.movements(rows, now=now).items():
        if isinstance(movement, Dropped):
            bodies[ref] = movement
        else:
            account = accounts.get(movement.customer_pk)
            bodies[ref] = _body(movement, account.name if account else "")
    return bodies


def _alert_bodies(rows: Sequence[Message]) -> dict[int, dict[str, Any] | Dropped]:
    from crm.channels.salesforce import current_org
    from crm.messages import escaped

    org = current_org()
    if org is None or not org.alert_channel:
        return {row.ref: Dropped("no_receiver", "No channel for alerts is set any more.") for row in rows}
    return {
        row.ref: {
            "channel": org.alert_channel,
            "text": "\n".join(escaped(row.body[name]) for name in ("title", "text", "url")),
        }
        for row in rows
    }


def _summary_bodies(rows: Sequence[Message]) -> dict[int, dict[str, Any] | Dropped]:
    from crm import summary_words
    from crm.channels.email import customer_names

    names = customer_names({pk for row in rows for pk in summary_words.customers(row.body)})
    return {row.ref: summary_words.slack(row.body, names, channel=row.body["to"]) for row in rows}


def _body(movement: Movement, account: str) -> dict[str, Any]:
    from crm.messages import Win, slack_body
    from mrr.selectors import reporting_zone

    win = Win(
        customer=movement.customer_name or movement.customer_id,
        kind=movement.type,
        began_on=movement.effective_at.astimezone(reporting_zone()).date(),
        mrr_minor=movement.amount_minor,
        arr_minor=movement.arr_minor,
        currency=movement.currency,
        account=account,
        days_lapsed=movement.days_lapsed,
        url=f"{settings.BASE_URL}/dashboard/customers/{movement.customer_pk}/",
    )
    return slack_body(win, channel=settings.SLACK_CLOSED_WON_CHANNEL)


# ---- telling ----


def _post_once(row: Message, body: Mapping[str, Any]) -> Outcome:
    """Post a summary that must not stand there twice, even if the worker dies on the way."""
    from crm.channels import once

    begun = once.begin(row)
    if begun is not None:
        return begun
    try:
        return Sent(row.body, their_id=_post(body))  # what is kept names no customer
    except Unclear as error:
        return once.unsure(error.message)
    except ChannelError as error:
        once.not_left(row)
        return error


def _post(body: Mapping[str, Any]) -> str:
    """Post one message and return its time stamp, which is its id in the channel."""
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

    client = WebClient(
        token=settings.SLACK_BOT_TOKEN,
        base_url=(settings.SLACK_API_BASE or WebClient.BASE_URL).rstrip("/") + "/",
        timeout=SECONDS,
        retry_handlers=[],  # its own would post again after a cut connection
        ssl=ssl.create_default_context(cafile=settings.CA_FILE or None),
    )
    try:
        answer = client.chat_postMessage(**body, unfurl_links=False, unfurl_media=False)
    except SlackApiError as refusal:
        code = str(refusal.response.get("error") or f"HTTP_{refusal.response.status_code}")
        if code in TRY_AGAIN or refusal.response.status_code >= 500:
            raise Transient(code, f"Slack does not take messages now: {code}.") from None
        raise Permanent(code, f"Slack refused the message: {code}. Check the bot and the channel's name.") from None
    except ConnectionRefusedError:
        raise Transient("unreachable", "Slack does not answer; nothing was sent.") from None
    except OSError as error:
        if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
            raise Transient("unreachable", "Slack does not answer; nothing was sent.") from None
        raise Unclear("no_answer", "The connection ended before Slack's answer: the message may stand.") from None
    except Exception as error:  # http.client raises what is no OSError; the SDK wraps what it cannot read
        raise Unclear("no_answer", f"Slack's answer cannot be read ({type(error).__name__}): it may stand.") from None
    return str(answer.get("ts") or "")
