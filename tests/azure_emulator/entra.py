"""Entra's token endpoints: client secret, device code, refresh token, managed identity, and the Azure CLI's sign-in."""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import jwt

from tests.azure_emulator.state import MANAGED_IDENTITY, PERSON, TENANT, State
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

PERSON_NAME = "ada@loopback.example"
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ23456789"
ANY_TENANT = {"common", "organizations", "consumers"}


@dataclass
class DeviceCode:
    client: str
    tenant: str
    scope: str
    user_code: str
    until: float
    approved_from: float
    declined: bool = False


class Entra:
    """Issues tokens signed with a throw-away key, and reads them back."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._key = secrets.token_hex(32)
        self._refresh_tokens: dict[str, dict[str, str]] = {}
        self.device_codes: dict[str, DeviceCode] = {}
        self.identity_header = secrets.token_hex(16)

    def approve(self, user_code: str) -> None:
        """The user has typed the code and agreed."""
        self._device(user_code).approved_from = 0.0

    def decline(self, user_code: str) -> None:
        self._device(user_code).declined = True

    def revoke(self) -> None:
        """No refresh token issued so far is good any more."""
        self._refresh_tokens.clear()

    def _device(self, user_code: str) -> DeviceCode:
        return next(code for code in self.device_codes.values() if code.user_code == user_code)

    def token(self, audience: str, tenant: str, principal: str, **claims: Any) -> str:
        """A signed access token for an audience."""
        now = int(self._state.now())
        return jwt.encode(
            {
                "aud": audience,
                "iss": f"https://sts.windows.net/{tenant}/",
                "iat": now,
                "nbf": now,
                "exp": now + self._state.settings.token_seconds,
                "tid": tenant,
                "oid": principal,
                "sub": principal,
                "ver": "1.0",
                **claims,
            },
            self._key,
            algorithm="HS256",
        )

    def read(self, header: str) -> dict[str, Any]:
        """The claims in an Authorization header; ARM's 401 `Refusal` when it is missing, forged or too old."""
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise _denied(
                "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError as error:
            raise _denied("InvalidAuthenticationToken", f"The access token is invalid: {error}.") from error
        if claims["exp"] <= self._state.now():
            raise _denied(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time is earlier than current UTC time.",
            )
        if "storage" in claims["aud"] or "cognitiveservices" in claims["aud"]:
            raise _denied(
                "InvalidAuthenticationTokenAudience",
                f"The access token has been obtained for wrong audience or resource '{claims['aud']}'.",
            )
        return claims

    def grant(self, scope: str, tenant: str, principal: str, *, client: str, renews: bool) -> dict[str, Any]:
        """The token endpoint's answer for a principal; with a refresh and an id token when it is a person."""
        audience = _audience(scope)
        seconds = self._state.settings.token_seconds
        answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds}
        if not renews:
            return {**answer, "access_token": self.token(audience, tenant, principal, appid=client)}
        refresh = secrets.token_urlsafe(24)
        self._refresh_tokens[refresh] = {"principal": principal, "client": client}
        now = int(self._state.now())
        identity = {
            "aud": client,
            "iss": f"https://login.loopback.example/{tenant}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "oid": principal,
            "sub": principal,
            "tid": tenant,
            "preferred_username": PERSON_NAME,
            "name": "Ada Loopback",
        }
        info = json.dumps({"uid": principal, "utid": TENANT}).encode()
        return {
            **answer,
            "scope": scope,
            "access_token": self.token(audience, tenant, principal, upn=PERSON_NAME, appid=client),
            "refresh_token": refresh,
            "id_token": jwt.encode(identity, self._key, algorithm="HS256"),
            "client_info": base64.urlsafe_b64encode(info).decode().rstrip("="),
        }

    def renewable(self, refresh_token: str) -> dict[str, str] | None:
        return self._refresh_tokens.get(refresh_token)


def routes(table: Table) -> None:
    table.add("GET", "/msi/token", managed_identity, "open")
    table.add("POST", "/cli", command_line, "open")
    table.add("GET", "/{tenant}/v2.0/.well-known/openid-configuration", configuration, "open")
    table.add("POST", "/{tenant}/oauth2/v2.0/token", token, "open")
    table.add("POST", "/{tenant}/oauth2/v2.0/devicecode", device_code, "open")


def _tenant(call: Call) -> str:
    name = call.names["tenant"]
    if name in ANY_TENANT:
        return TENANT
    if name not in call.azure.state.tenants:
        raise _oauth(400, "invalid_tenant", f"AADSTS90002: Tenant '{name}' not found.", 90002)
    return name


def configuration(call: Call) -> Answer:
    base = f"{call.azure.url}/{_tenant(call)}"
    return Answer(
        body={
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/keys",
            "tenant_region_scope": None,
            "response_types_supported": ["code"],
        }
    )


def device_code(call: Call) -> Answer:
    form = _form(call)
    settings = call.azure.state.settings
    after = settings.device_code_approves_after
    code = "".join(secrets.choice(ALPHABET) for _ in range(9))
    name = secrets.token_urlsafe(24)
    call.azure.entra.device_codes[name] = DeviceCode(
        form["client_id"],
        _tenant(call),
        form["scope"],
        code,
        time.time() + settings.device_code_seconds,
        math.inf if after is None else time.time() + after,
    )
    page = "https://microsoft.com/devicelogin"
    return Answer(
        body={
            "user_code": code,
            "device_code": name,
            "verification_uri": page,
            "expires_in": settings.device_code_seconds,
            "interval": settings.device_poll_seconds,
            "message": f"To sign in, use a web browser to open the page {page} and enter the code {code} to "
            "authenticate.",
        }
    )


def token(call: Call) -> Answer:
    form = _form(call)
    tenant = _tenant(call)
    entra = call.azure.entra
    match form.get("grant_type"):
        case "client_credentials":
            client = form.get("client_id", "")
            secret, principal = call.azure.state.clients.get(client, ("", ""))
            if not secret:
                raise _oauth(
                    400,
                    "unauthorized_client",
                    f"AADSTS700016: Application with identifier '{client}' was not found in the directory.",
                    700016,
                )
            if form.get("client_secret") != secret:
                raise _oauth(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.", 7000215)
            return Answer(body=entra.grant(form["scope"], tenant, principal, client=client, renews=False))
        case "urn:ietf:params:oauth:grant-type:device_code" | "device_code":
            return _device_token(call, form, tenant)
        case "refresh_token":
            known = entra.renewable(form.get("refresh_token", ""))
            if not known:
                raise _oauth(
                    400,
                    "invalid_grant",
                    "AADSTS700082: The refresh token has expired due to inactivity.",
                    700082,
                )
            return Answer(
                body=entra.grant(
                    form["scope"], tenant, known["principal"], client=known["client"], renews=True
                )
            )
    raise _oauth(400, "unsupported_grant_type", "AADSTS70003: The grant type is not supported.", 70003)


def _device_token(call: Call, form: dict[str, str], tenant: str) -> Answer:
    code = call.azure.entra.device_codes.get(form.get("device_code", ""))
    if not code or time.time() > code.until:
        raise _oauth(
            400,
            "expired_token",
            "AADSTS70020: The provided value for the input parameter has expired.",
            70020,
        )
    if code.declined:
        raise _oauth(400, "authorization_declined", "AADSTS70016: The user declined the request.", 70016)
    if time.time() < code.approved_from:
        raise _oauth(
            400,
            "authorization_pending",
            "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
            70016,
        )
    return Answer(body=call.azure.entra.grant(code.scope, tenant, PERSON, client=code.client, renews=True))


def managed_identity(call: Call) -> Answer:
    """App Service's form of a managed identity, the one that needs no link-local address."""
    if call.headers.get("x-identity-header") != call.azure.entra.identity_header:
        raise Refusal(401, "Unauthorized", "The identity header is missing or wrong.")
    resource = call.query["resource"]
    seconds = call.azure.state.settings.token_seconds
    return Answer(
        body={
            "access_token": call.azure.entra.token(
                resource, TENANT, MANAGED_IDENTITY, appid=MANAGED_IDENTITY
            ),
            "expires_on": str(int(time.time()) + seconds),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": MANAGED_IDENTITY,
        }
    )


def command_line(call: Call) -> Answer:
    """What the `az` on `Emulator.cli_path` should print: {"code", "stdout", "stderr"}."""
    words: list[str] = call.body["arguments"]
    state = call.azure.state
    if not state.settings.cli_signed_in:
        return Answer(
            body={"code": 1, "stdout": "", "stderr": "ERROR: Please run 'az login' to setup account.\n"}
        )
    given = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
    accounts = [
        {
            "id": one.id,
            "name": one.name,
            "tenantId": one.tenant,
            "state": one.state,
            "isDefault": at == 0,
            "user": {"name": PERSON_NAME, "type": "user"},
        }
        for at, one in enumerate(state.subscriptions.values())
    ]
    if words[:2] == ["account", "get-access-token"]:
        resource = given.get("--resource") or _audience(given.get("--scope", call.azure.url))
        tenant = given.get("--tenant", TENANT)
        until = int(state.now()) + state.settings.token_seconds
        printed: Any = {
            "accessToken": call.azure.entra.token(resource, tenant, PERSON, upn=PERSON_NAME),
            "expiresOn": datetime.fromtimestamp(until).strftime("%Y-%m-%d %H:%M:%S.%f"),
            "expires_on": until,
            "subscription": accounts[0]["id"],
            "tenant": tenant,
            "tokenType": "Bearer",
        }
    elif words[:2] == ["account", "list"]:
        printed = accounts
    elif words[:2] == ["account", "show"]:
        printed = accounts[0]
    else:
        return Answer(
            body={"code": 2, "stdout": "", "stderr": f"ERROR: '{' '.join(words)}' is not known here.\n"}
        )
    return Answer(body={"code": 0, "stdout": json.dumps(printed, indent=2) + "\n", "stderr": ""})


def _form(call: Call) -> dict[str, str]:
    return {key: value[0] for key, value in parse_qs(call.raw.decode()).items()}


def _audience(scope: str) -> str:
    resource = next((one for one in scope.split() if "://" in one), scope)
    return resource.removesuffix("/.default")


def _denied(code: str, message: str) -> Refusal:
    return Refusal(401, code, message, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _oauth(status: int, error: str, description: str, number: int) -> Refusal:
    refusal = Refusal(status, error, description)
    refusal.answer.body = {
        "error": error,
        "error_description": description,
        "error_codes": [number],
        "correlation_id": str(uuid.uuid4()),
        "trace_id": str(uuid.uuid4()),
    }
    return refusal
