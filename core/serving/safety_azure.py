"""Azure AI Content Safety, asked about each text.

Endpoint and key come from the environment of the gateway's process and are written nowhere: a deployment that uses it
has to be started where both are set.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from core.serving.safety import SafetyError

ENDPOINT = "AZURE_CONTENT_SAFETY_ENDPOINT"
KEY = "AZURE_CONTENT_SAFETY_KEY"
CATEGORIES = ("Hate", "SelfHarm", "Sexual", "Violence")
SEVERITIES = (2, 4, 6)
USUAL = 4
"""Medium, the service's own usual threshold."""
LONGEST = 10_000
"""Characters of one text that the service takes."""
OVERLAP = 500
TIMEOUT_S = 10.0


def check_environment() -> tuple[str, str]:
    """(endpoint, key).

    Raises:
        SafetyError: one is not set.
    """
    missing = [name for name in (ENDPOINT, KEY) if not os.environ.get(name)]
    if missing:
        raise SafetyError(
            "Azure AI Content Safety can't be asked.",
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set.",
            "Set both in the shell that starts the deployment; the key is in the resource's page `Keys and Endpoint`.",
        )
    return os.environ[ENDPOINT], os.environ[KEY]


class AzureJudge:
    """A Content Safety resource.

    Args:
        endpoint: its address.
        key: one of its keys.
        thresholds: severity from which on a category is blocked; a category left out has the usual one.
    """

    def __init__(self, endpoint: str, key: str, thresholds: dict[str, int]) -> None:
        from azure.ai.contentsafety import ContentSafetyClient
        from azure.core.credentials import AzureKeyCredential

        self._client: Any = ContentSafetyClient(
            endpoint,
            AzureKeyCredential(key),
            connection_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            retry_total=1,
        )
        self._thresholds = {name: thresholds.get(name, USUAL) for name in CATEGORIES}

    @classmethod
    def from_environment(cls, thresholds: dict[str, int]) -> AzureJudge:
        """The resource that the environment names.

        Raises:
            SafetyError: it names none.
        """
        return cls(*check_environment(), thresholds)

    async def judge(self, text: str) -> str:
        for start in range(0, max(1, len(text) - OVERLAP), LONGEST - OVERLAP):
            found = await asyncio.to_thread(self._ask, text[start : start + LONGEST])
            if found:
                return found
        return ""

    def _ask(self, text: str) -> str:
        from azure.ai.contentsafety.models import AnalyzeTextOptions
        from azure.core.exceptions import AzureError

        try:
            answer = self._client.analyze_text(AnalyzeTextOptions(text=text))
        except AzureError as error:
            raise SafetyError(
                "Azure AI Content Safety gave no answer.",
                str(error).splitlines()[0] if str(error) else type(error).__name__,
                f"Check {ENDPOINT} and {KEY}; requests are refused until it answers.",
            ) from error
        for item in answer.categories_analysis:
            category, severity = str(getattr(item.category, "value", item.category)), item.severity or 0
            if severity >= self._thresholds.get(category, USUAL):
                return f"azure, {category} {severity}"
        return ""

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)
