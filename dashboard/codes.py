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
