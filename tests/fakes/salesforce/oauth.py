"""The fake org's login: token, authorize, revoke and userinfo, with the errors that a client must tell apart."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from ..server import Request, Response, json_response

REFRESH_TOKENS_PER_USER = 5


class OAuthError(Exception):
    """One refusal of the token endpoint."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.answer = json_response({"error": error, "error_description": description}, status)


@dataclass
class ConnectedApp:
    """The app that the org knows. `jwt_public_key` is a PEM; without it the JWT flow is refused."""

    client_id: str = "3MVG9fake.client.id"
    client_secret: str = "fake-client-secret"
    redirect_uris: tuple[str, ...] = ()
    jwt_public_key: bytes | None = None
    rotates_refresh_tokens: bool = False
    allows_client_credentials: bool = True
    requires_secret: bool = False
    scopes: tuple[str, ...] = ("api", "refresh_token", "offline_access")
    known: bool = True


@dataclass
class Login:
    """Who and what the org has let in: living access tokens, refresh tokens (oldest first) and one-time codes."""

    org_id: str
    user_id: str
    username: str
    app: ConnectedApp = field(default_factory=ConnectedApp)
    access_tokens: set[str] = field(default_factory=set)
    refresh_tokens: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    grants: int = 0
    instance_url: str | None = None
    denies: bool = False
    is_sandbox: bool = False

    def new_access_token(self) -> str:
        token = f"{self.org_id[:15]}!{secrets.token_urlsafe(48)}"
        self.access_tokens.add(token)
        return token

    def new_refresh_token(self) -> str:
        """A sixth one of the same person pushes out the oldest."""
        self.refresh_tokens.append(f"5Aep{secrets.token_urlsafe(40)}")
        del self.refresh_tokens[:-REFRESH_TOKENS_PER_USER]
        return self.refresh_tokens[-1]

    def answer(self, request: Request, url: str) -> Response:
        """Answer a request under /services/oauth2/ or /id/; `url` is the fake's own address."""
        resource = request.path.rstrip("/").rsplit("/", 1)[-1]
        try:
            if request.path.startswith("/id/") or resource == "userinfo":
                return self._identity(request, url)
            if resource == "authorize":
                return self._authorize(request)
            if request.method != "POST":
                raise OAuthError("invalid_request", "must use HTTP POST")
            if resource == "revoke":
                return self._revoke(request)
            if resource == "token":
                return self._token(request, url)
        except OAuthError as refusal:
            return refusal.answer
        return Response(404, b"<html><body>URL No Longer Exists</body></html>", {"Content-Type": "text/html"})

    def _token(self, request: Request, url: str) -> Response:
        if not request.header("content-type").startswith("application/x-www-form-urlencoded"):
            raise OAuthError("invalid_request", "content type must be application/x-www-form-urlencoded")
        form = request.form()
        if form.get("grant_type") not in GRANTS:
            raise OAuthError("unsupported_grant_type", "grant type not supported")
        extra = GRANTS[form["grant_type"]](self, form, url)
        self.grants += 1
        return json_response({
            "access_token": self.new_access_token(), "token_type": "Bearer", "scope": "api refresh_token",
            "instance_url": self.instance_url or url, "id": f"{url}/id/{self.org_id}/{self.user_id}",
            "issued_at": str(int(time.time() * 1000)), "signature": secrets.token_urlsafe(32), **extra,
        })  # fmt: skip

    def _client(self, form: dict[str, str], *, with_secret: bool = True) -> None:
        if form.get("client_id") != self.app.client_id or not self.app.known:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if with_secret and form.get("client_secret") != self.app.client_secret:
            raise OAuthError("invalid_client", "invalid client credentials")

    def _client_credentials(self, form: dict[str, str], url: str) -> dict[str, Any]:
        self._client(form)
        if not self.app.allows_client_credentials:
            raise OAuthError("invalid_grant", "no client credentials user enabled")
        return {}

    def _refresh(self, form: dict[str, str], url: str) -> dict[str, Any]:
        self._client(form, with_secret="client_secret" in form)
        token = form.get("refresh_token", "")
        if token not in self.refresh_tokens:
            raise OAuthError("invalid_grant", "expired access/refresh token")
        if not self.app.rotates_refresh_tokens:
            return {}
        self.refresh_tokens.remove(token)
        return {"refresh_token": self.new_refresh_token()}

    def _authorization_code(self, form: dict[str, str], url: str) -> dict[str, Any]:
        self._client(form, with_secret="client_secret" in form or self.app.requires_secret)
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None:
            raise OAuthError("invalid_grant", "expired authorization code")
        if form.get("redirect_uri") != asked["redirect_uri"]:
            raise OAuthError("redirect_uri_mismatch", "redirect_uri must match configuration")
        if _challenge(form.get("code_verifier", "")) != asked["code_challenge"]:
            raise OAuthError("invalid_grant", "invalid code verifier")
        # Without the scope there is no refresh token, and nobody says so.
        wanted = set(asked["scope"].split())
        return {"refresh_token": self.new_refresh_token()} if wanted & {"refresh_token", "offline_access"} else {}

    def _jwt(self, form: dict[str, str], url: str) -> dict[str, Any]:
        claims = self._verified(form.get("assertion", ""))
        if claims.get("iss") != self.app.client_id or not self.app.known:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        login_host = "https://test.salesforce.com" if self.is_sandbox else "https://login.salesforce.com"
        if claims.get("aud") not in (url, login_host):
            raise OAuthError("invalid_grant", "audience is invalid")
        if not time.time() < float(claims.get("exp", 0)) <= time.time() + 300:
            raise OAuthError("invalid_grant", "expired authorization code")
        if claims.get("sub") != self.username:
            raise OAuthError("invalid_grant", "user hasn't approved this consumer")
        return {}

    def _verified(self, assertion: str) -> dict[str, Any]:
        """The claims of an RS256 assertion signed with the app's key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa

        try:
            head, claims, signature = assertion.split(".")
            if json.loads(_unbase64(head)).get("alg") != "RS256" or self.app.jwt_public_key is None:
                raise ValueError(head)
            key = serialization.load_pem_public_key(self.app.jwt_public_key)
            assert isinstance(key, rsa.RSAPublicKey)
            key.verify(_unbase64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
            return dict(json.loads(_unbase64(claims)))
        except (ValueError, InvalidSignature):
            raise OAuthError("invalid_grant", "invalid assertion") from None

    def _authorize(self, request: Request) -> Response:
        """The person says yes at once (no with `denies`) and is sent back with a code."""
        asked = {name: values[-1] for name, values in request.query.items()}
        if asked.get("client_id") != self.app.client_id or not self.app.known:
            raise OAuthError("invalid_client_id", "client identifier invalid")
        if asked.get("redirect_uri") not in self.app.redirect_uris:
            raise OAuthError("redirect_uri_mismatch", "redirect_uri must match configuration")
        back: dict[str, str] = {"state": asked.get("state", "")}
        if self.denies:
            back |= {"error": "access_denied", "error_description": "end-user denied authorization"}
        elif asked.get("response_type") != "code":
            back |= {"error": "unsupported_response_type", "error_description": "response type not supported"}
        elif not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            back |= {"error": "invalid_request", "error_description": "missing required code challenge"}
        elif not set(asked.get("scope", "").split()) <= set(self.app.scopes):
            back |= {"error": "invalid_scope", "error_description": "the requested scope is not allowed"}
        else:
            back["code"] = f"aPrx{secrets.token_urlsafe(32)}"
            kept = {name: asked[name] for name in ("redirect_uri", "code_challenge")}
            self.codes[back["code"]] = {**kept, "scope": asked.get("scope") or " ".join(self.app.scopes)}
        return Response(302, b"", {"Location": f"{asked['redirect_uri']}?{urlencode(back, quote_via=quote)}"})

    def _revoke(self, request: Request) -> Response:
        token = request.form().get("token", "")
        if token not in self.access_tokens and token not in self.refresh_tokens:
            raise OAuthError("unsupported_token_type", "this token type is not supported")
        self.access_tokens.discard(token)
        if token in self.refresh_tokens:
            self.refresh_tokens.remove(token)
            self.access_tokens.clear()
        return Response(200)

    def _identity(self, request: Request, url: str) -> Response:
        if bearer(request) not in self.access_tokens:
            return Response(403, b"Bad_OAuth_Token", {"Content-Type": "text/html"})
        if request.path.startswith("/id/") and request.segments[1:] != [self.org_id, self.user_id]:
            return Response(403, b"Bad_Id", {"Content-Type": "text/html"})
        identity = f"{url}/id/{self.org_id}/{self.user_id}"
        return json_response({
            "sub": identity, "id": identity, "user_id": self.user_id, "organization_id": self.org_id,
            "preferred_username": self.username, "username": self.username, "active": True, "user_type": "STANDARD",
            "urls": {"rest": f"{self.instance_url or url}/services/data/v{{version}}/"},
        })  # fmt: skip


GRANTS = {
    "client_credentials": Login._client_credentials,
    "refresh_token": Login._refresh,
    "authorization_code": Login._authorization_code,
    "urn:ietf:params:oauth:grant-type:jwt-bearer": Login._jwt,
}


def bearer(request: Request) -> str:
    """The access token of a request, "" without one."""
    kind, _, token = request.header("authorization").partition(" ")
    return token.strip() if kind in ("Bearer", "OAuth") else ""


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
