"""What the codes mean that the API answers and that the health page finds: title, cause and cure. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Help = Mapping[str, tuple[str, str, str]]

API: Final[Help] = {
    "bad_request": ("Bad request", "The call cannot be understood.", "Compare it with the API's page."),
    "bad_parameter": (
        "A parameter is not right",
        "`field` of the answer names the parameter or the field of the body, the message says what it takes.",
        "Correct it and call again.",
    ),
    "not_authenticated": (
        "Not signed in",
        "The call carries neither a token nor a session.",
        "Send the header Authorization: Token …; create_api_token makes one.",
    ),
    "bad_token": (
        "The token is not good",
        "It is not known, has expired, or its user is not active any more.",
        "Make another with create_api_token.",
    ),
    "forbidden": (
        "Not for your role",
        "The role, or the token's role, lacks the ability that the message names.",
        "Ask an administrator for a role that has it.",
    ),
    "not_found": ("Not found", "There is nothing at this address, or no object with this id.", "Check the id."),
    "method_not_allowed": (
        "Wrong method",
        "The address does not take this method: it only reads, or only takes POST.",
        "Compare the call with the API's page. For a webhook's address nothing is to be done.",
    ),
    "not_acceptable": ("No such format", "The answer is not made in the format asked for.", "Ask for JSON."),
    "unsupported_media_type": ("Not JSON", "The body is of a type that is not read.", "Send application/json."),
    "csrf_failed": (
        "The page's guard is missing",
        "A call by session that changes something needs the page's CSRF token.",
        "Load the page again, or call with an API token.",
    ),
    "error": ("The call failed", "The answer's status and message say how.", "See the message."),
    "server_error": (
        "It broke on our side",
        "The call failed for a reason that is in our log.",
        "Try again later; if it stays, look into the log.",
    ),
    "internal": (
        "It broke on our side",
        "The call failed for a reason that is in our log.",
        "Try again later; if it stays, look into the log.",
    ),
    "ambiguous_source": (
        "Several sources know this id",
        "Two Stripe accounts have an object of this id.",
        "Add source= with the short name of the one that is meant.",
    ),
    "already_matched": (
        "Somebody was first",
        "The customer was matched by somebody else meanwhile; who and when stands in the answer.",
        "Load it again. To change it, undo that match first.",
    ),
}

# What the health page finds that has no code of its own where it arises
HEALTH: Final[Help] = {
    "workers_silent": (
        "The workers do not answer",
        "No worker has taken a task for a while: they are stopped, or stuck. Events are still kept, nothing is lost; "
        "nothing is worked on either.",
        "Start serve, or look into its log: its watchdog restarts a stuck cluster within a minute. Where workers run "
        "on a machine of their own, see that it runs and reaches the database.",
    ),
    "work_overdue": (
        "Work waits too long",
        "Something that could be done now has waited for more than two minutes.",
        "Wait while a backlog drains. If the oldest grows older, see whether the workers run and what their log says.",
    ),
    "job_failed": (
        "A scheduled job failed",
        "Its last run ended with an error, which stands beside it.",
        "It runs again at its next time. If it fails again, mend what the error names.",
    ),
    "job_late": (
        "A scheduled job does not run",
        "Its time has passed and it did not start, or its last run never ended.",
        "See whether the workers run. Then run sync_schedules, which installs what is missing.",
    ),
    "api_key_old": (
        "The API key is older than 90 days",
        "A key that is never changed is known to more people and machines each month.",
        "Make a new restricted key in Stripe and replace this one under Keys: it is tried on every read first.",
    ),
    "signing_secret_old": (
        "The signing secret is older than 90 days",
        "A secret that is never changed is known to more people and machines each month.",
        "Roll it in Stripe with an overlap, add the new one under Keys, and remove the old one when it falls silent.",
    ),
    "signing_secret_idle": (
        "An old signing secret is still active",
        "Nothing has been signed with it for a day, while a newer one is in use.",
        "Remove the old one under Keys.",
    ),
    "api_versions_differ": (
        "Events come in several API versions",
        "Two endpoints, or an endpoint and a change of version, send different layouts. All are read.",
        "If it lasts for more than a day, see that one endpoint alone delivers to this address.",
    ),
    "recount_differs": (
        "Stripe and our rows differed",
        "The last recount found objects that were missing, different or gone here. What can be read again is repaired.",
        "Nothing to do where it was repaired. If the next recount finds more, see whether deliveries are refused.",
    ),
    "deliveries_missed": (
        "Deliveries were missed and caught up",
        "Events that were never delivered to us were found in Stripe's list and taken from there.",
        "Nothing to do once. If it happens again, see the endpoint's failed deliveries in Stripe.",
    ),
    "listing_incomplete": (
        "Stripe's lists were not read to their end",
        "The last reading stopped, or not every object on the lists stands in our rows.",
        "See its error on the set-up page and start it again: it goes on where it stopped.",
    ),
    "writes_held": (
        "Writes to Salesforce are held",
        "A person, or a restore, holds all writes. What is owed waits; nothing is lost.",
        "Release them on the Salesforce sync page when the reason is gone.",
    ),
    "salesforce_paused": (
        "Salesforce asked us to wait",
        "A limit or an outage there pauses all sending for some minutes.",
        "Nothing to do: it goes on by itself.",
    ),
    "shadow": (
        "Salesforce is in shadow mode",
        "Everything is computed and recorded as it would be sent; nothing is written to Salesforce, nobody is told.",
        "Read what would be sent on the Salesforce sync page, then go live there.",
    ),
    "backup_old": (
        "No recent backup",
        "The command backup was not run for two days, or never.",
        "Run it each day by the machine's clock, as the page on operations shows, or copy the database by other means.",
    ),
    "ledger_differs": (
        "The ledger and its recount differ",
        "The nightly check found entries, sums or hashes that are not what they must be.",
        "Run check_ledger: it names each. Do not close a month before it is clear.",
    ),
    "ledger_unchecked": (
        "The ledger was not checked lately",
        "The nightly check has not finished for two days.",
        "See whether the workers run; check_ledger does it at once.",
    ),
    "entries_unsealed": (
        "Entries wait for their seal",
        "The job that seals entries each minute has not run for ten.",
        "See whether the workers run.",
    ),
}
