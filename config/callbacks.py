"""The addresses that other systems call with a secret of their own; each only says that there is something to read."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from config.nudge import nudge
from crm import callback


@csrf_exempt
@login_not_required
def salesforce(request: HttpRequest) -> JsonResponse:
    """A Flow tells of new or changed Accounts and Contacts: `{"ids": […]}` with the callback secret as bearer token."""
    if request.method != "POST":
        wrong = {"error": {"code": "method_not_allowed", "message": "Callbacks come by POST.", "field": None}}
        return JsonResponse(wrong, status=405, headers={"Allow": "POST"})
    try:
        raw = request.body
    except RequestDataTooBig:
        raw = None
    status, body = callback.receive(raw, request.headers.get("Authorization", ""), now=timezone.now())
    if status == 202:
        nudge("accounts")
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JsonResponse(body, status=status, headers=headers)
