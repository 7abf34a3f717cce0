"""What Azure's answers mean: every exception of its packages becomes an AzureError with cause and next step."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from core.errors import FinetuiError

SKEW_S = 300.0
"""Entra's tokens are refused by clocks that differ more than this."""
MOST_CHARACTERS = 600
SECRETS = (
    (re.compile(r"(?i)\b(sig|sv|se|sp|skoid|AccountKey|client_secret|code)=[^&\s\"']+"), r"\1=..."),
    (re.compile(r"(?i)\bBearer\s+[\w.~+/=-]+"), "Bearer ..."),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(\.[\w-]*)?"), "..."),
)
NEXT_STEPS = {
    "AuthorizationFailed": "Ask an owner of the resource group for the role Azure AI Developer, or Contributor; "
    "`finetui azure check` names the missing actions.",
    "MissingSubscriptionRegistration": "`finetui azure check --fix` registers the resource provider.",
    "SubscriptionNotRegistered": "`finetui azure check --fix` registers the resource provider.",
    "SubscriptionNotFound": "`finetui azure account` lists them; `finetui azure login --subscription ID` chooses one.",
    "ResourceGroupNotFound": "`finetui azure check --fix` makes it, or `finetui azure login` chooses another.",
    "ServerlessModelNotAvailableInRegion": "`finetui azure models` names its regions; choose a project in one.",
    "ServerlessOfferNotFound": "`finetui azure subscribe MODEL` takes the partner's offer in the Azure Marketplace.",
    "QuotaExceeded": "Delete what is not needed (`finetui azure endpoints`), or ask for more in the Azure portal.",
    "CustomDomainInUse": "Choose another name: it must be the only one in the world.",
    "FlagMustBeSetForRestore": "One of this name was deleted in the last 48 hours: choose another name.",
    "InvalidAuthenticationToken": "Sign in again: `finetui azure login`.",
    "ExpiredAuthenticationToken": "Sign in again: `finetui azure login`.",
}
BY_STATUS = {
    401: "Sign in again: `finetui azure login`.",
    403: NEXT_STEPS["AuthorizationFailed"],
    404: "`finetui azure account` shows which subscription, group and project are asked.",
    408: "Try again in a moment.",
    429: "Wait a minute; fewer requests at once help.",
}
TENANT = "The tenant is likely wrong: `finetui azure login --tenant` takes its id or domain."
NO_CLI = "Install the Azure CLI and sign in with `az login`;"
RENEW_CLI = "`az login` renews the Azure CLI's sign-in;"
OTHER_WAY = " `finetui azure login --identity` chooses another way."
LATER = "Try again in a moment; https://status.azure.com tells of troubles."
ENTRA_PASSING = ("HTTP Error: 5", "TooManyRequests", "temporarily_unavailable", "AADSTS90033")
"""In what azure-identity says when Entra itself is in trouble; it keeps no status of the answer."""
NO_CERTIFICATES = "CA certificate bundle"
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
WRONG_TENANT = (
    "AADSTS90002", "AADSTS900023", "AADSTS50020", "invalid_tenant", "authority configuration"
)  # fmt: skip
"""In what Entra says of a tenant that isn't there, or that the user isn't in."""
CLOUD_METADATA = "ARM_CLOUD_METADATA_URL"
NO_CLOUD = f"The cloud's own description ({CLOUD_METADATA}={{}}) can't be had."
TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)


class AzureError(FinetuiError):
    """Azure refused or couldn't be asked.

    Attributes:
        code: Azure's own word for it (`.error.code`), or empty.
        status: of the HTTP answer; 0 without one.
        transient: the same request may succeed later.
        request_id: what Azure's support asks for.
    """

    def __init__(
        self,
        what: str,
        cause: str = "",
        next_step: str = "",
        *,
        code: str = "",
        status: int = 0,
        transient: bool = False,
        request_id: str = "",
    ) -> None:
        super().__init__(what, cause, next_step)
        self.code = code
        self.status = status
        self.transient = transient
        self.request_id = request_id


SIGN_IN_NEEDED = "sign_in_needed"
"""The code of the error that a device-code sign-in is missing or has run out."""


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Whatever goes wrong with Azure inside becomes an AzureError.

    Args:
        what: what was asked, e.g. "the job's state"; begins the error's sentence.
    """
    from azure.core.exceptions import AzureError as SdkError

    try:
        yield
    except AzureError:
        raise
    except SdkError as error:  # azure.ai.ml's own exceptions are among them
        raise told(error, what) from error
    except OSError as error:  # requests' own for it, which azure-core lets pass
        if NO_CERTIFICATES not in str(error):
            raise
        raise told(error, what) from error


def _unavailable(said: str) -> str:
    """What helps where a way to sign in is not there, by what azure-identity says of it."""
    if "ManagedIdentity" in said or "managed identit" in said.lower():
        return "Only a machine in Azure has one, once it is turned on there;"
    return NO_CLI if "not found on path" in said else RENEW_CLI


def told(error: Exception, what: str) -> AzureError:
    """An exception of Azure's packages as an AzureError."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
    from azure.identity import AuthenticationRequiredError, CredentialUnavailableError

    chain = list(_chain(error))
    if any(NO_CERTIFICATES in str(item) for item in chain):
        return AzureError(
            f"{what}: the file of trusted certificates is missing.",
            scrubbed(str(error)),
            f"Put it back, or change what names it: {', '.join(CERTIFICATE_VARIABLES)}.",
            code="no_certificates",
            transient=True,
        )
    if any(isinstance(item, AuthenticationRequiredError) for item in chain):
        return AzureError(
            f"{what}: nobody is signed in.",
            "A device-code sign-in lives in one process only, and its time is over.",
            "Sign in where the code is shown; `finetui azure login --identity azure_cli` needs none.",
            code=SIGN_IN_NEEDED,
        )
    if any(isinstance(item, CredentialUnavailableError) for item in chain):
        return AzureError(
            f"{what}: this way to sign in is not available here.",
            scrubbed(str(error)),
            _unavailable(str(error)) + OTHER_WAY,
            code="credential_unavailable",
        )
    if unreachable := next((item for item in chain if _is_network(item)), None):
        return AzureError(
            f"{what}: Azure can't be reached.",
            NO_CLOUD.format(os.environ.get(CLOUD_METADATA, ""))
            if _is_cloud(unreachable)
            else scrubbed(str(unreachable)),
            "Check the network, HTTPS_PROXY and the machine's clock; what runs in Azure goes on meanwhile.",
            code="unreachable",
            transient=True,
        )
    if isinstance(error, HttpResponseError) and error.response is not None:
        return _answer(error, what)
    if isinstance(error, ClientAuthenticationError):
        passing = any(words in str(error) for words in ENTRA_PASSING)
        wrong = any(words in str(error) for words in WRONG_TENANT)
        return AzureError(
            f"{what}: the sign-in failed.",
            scrubbed(str(error)),
            LATER if passing else TENANT if wrong else "Sign in again: `finetui azure login`.",
            code="sign_in_failed",
            transient=passing,
        )
    return AzureError(f"{what}: {type(error).__name__}.", scrubbed(str(error)), "")


def _answer(error: Any, what: str) -> AzureError:
    """What an HTTP answer says; `.error` holds Azure's own words where its body had them."""
    response = error.response
    status = int(response.status_code)
    details = _body(response)
    code, inner = str(details.get("code") or ""), _inner_codes(details)
    message = str(details.get("message") or error.message or error.reason or "")
    headers = {name.lower(): value for name, value in response.headers.items()}
    request_id = str(headers.get("x-ms-request-id") or headers.get("x-ms-correlation-request-id") or "")
    known = next((name for name in (*inner, code) if name in NEXT_STEPS), code)
    words = "/".join(dict.fromkeys(filter(None, (code, *inner)))) or str(status)
    parts = [f"{words}: {scrubbed(message)}"]
    parts += [
        f"Request {request_id}." if request_id else "",
        _skew(headers.get("date")) if status == 401 else "",
    ]
    return AzureError(
        f"{what}: Azure refused." if status < 500 else f"{what}: Azure failed.",
        " ".join(part for part in parts if part),
        NEXT_STEPS.get(known) or BY_STATUS.get(status) or (LATER if status >= 500 else ""),
        code=known,
        status=status,
        transient=status in TRANSIENT_STATUS,
        request_id=request_id,
    )


def _body(response: Any) -> dict[str, Any]:
    """The `error` object of an answer's JSON; empty where there is none."""
    try:
        content = json.loads(response.text())
    except (ValueError, TypeError, AttributeError):  # no JSON, or a stream that nobody has read
        return {}
    error = content.get("error") if isinstance(content, dict) else None
    if isinstance(error, str):  # Entra's form
        return {"code": error, "message": content.get("error_description", "")}
    return error if isinstance(error, dict) else {}


def _inner_codes(details: dict[str, Any]) -> list[str]:
    """The codes that the service's front end hides in `additionalInfo`."""
    found: list[str] = []
    for item in details.get("additionalInfo") or ():
        if not isinstance(item, dict) or item.get("type") != "InnerError":
            continue
        value = (item.get("info") or {}).get("value")
        while isinstance(value, dict):
            found += [value["code"]] if isinstance(value.get("code"), str) else []
            value = value.get("innerError")
    return found


def _skew(date: str | None) -> str:
    """A sentence where this machine's clock is too far from the server's."""
    try:
        off_s = time.time() - parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError):
        return ""
    if abs(off_s) < SKEW_S:
        return ""
    return f"This machine's clock is {abs(off_s) / 60:.0f} minutes {'ahead of' if off_s > 0 else 'behind'} Azure's."


def _is_network(error: BaseException) -> bool:
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    return isinstance(error, ServiceRequestError | ServiceResponseError) or _is_cloud(error)


def _is_cloud(error: BaseException) -> bool:
    """Whether azure-ai-ml could not have the description of the cloud it is to work in."""
    return type(error).__name__ == "MlException" and "Unknown cloud environment" in str(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came of; one that was told already belongs to an earlier question."""
    while error is not None and not isinstance(error, AzureError):
        yield error
        error = error.__cause__ or error.__context__


def scrubbed(text: str) -> str:
    """One line of somebody else's text without what could be a key, a token or a signature."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."
