"""A guard model: a model of another deployment of this user that is asked whether a text is safe.

It is asked as Llama Guard and its kin are: the text as a message of the user's, through the model's own chat
template, greedily. Its reply's first line says `safe` or `unsafe`, the second one names categories. A reply that says
neither is no judgement, and the text doesn't pass. (H. Inan and others, Llama Guard, arXiv 2312.06674.)
"""

from __future__ import annotations

import re
from typing import Any

from core.serving.deployments import Deployment, DeploymentError, find
from core.serving.safety import SafetyError

REPLY_TOKENS = 24
TIMEOUT_S = 120.0
CATEGORY = re.compile(r"[A-Za-z0-9 ,_-]{1,40}")


class GuardJudge:
    """The model of a deployment.

    Args:
        deployment: its name.
        model: the model's name there.
    """

    def __init__(self, deployment: str, model: str) -> None:
        self._deployment = deployment
        self._model = model
        self._client: Any = None

    async def judge(self, text: str) -> str:
        import httpx

        try:
            if self._client is None:
                transport = httpx.AsyncHTTPTransport(uds=str(guard(self._deployment, self._model).socket))
                self._client = httpx.AsyncClient(
                    transport=transport, base_url="http://guard", timeout=TIMEOUT_S, trust_env=False
                )
            answer = await self._client.post(
                "/v1/chat/completions",
                json={
                    "model": self._model,
                    "messages": [{"role": "user", "content": text}],
                    "max_tokens": REPLY_TOKENS,
                    "temperature": 0,
                },
            )
            answer.raise_for_status()
            reply = str(answer.json()["choices"][0]["message"]["content"])
        except (httpx.HTTPError, DeploymentError, ValueError, LookupError, TypeError) as error:
            await self.close()  # the deployment may come back with another socket
            raise SafetyError(
                f"The guard model {self._deployment}/{self._model} gave no answer.",
                str(error).splitlines()[0] if str(error) else type(error).__name__,
                f"`finetui deployments show {self._deployment}`; requests are refused until it answers.",
            ) from error
        judgement = read_judgement(reply)
        if judgement is None:
            raise SafetyError(
                f"{self._deployment}/{self._model} is no guard model.",
                "Its reply begins neither with `safe` nor with `unsafe`.",
                "Deploy a model that was trained for it.",
            )
        return judgement

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def read_judgement(reply: str) -> str | None:
    """What a guard's reply says: empty for safe, the category for unsafe, None when it is no judgement."""
    lines = [line.strip() for line in reply.strip().splitlines()] or [""]
    match lines[0].lower():
        case "safe":
            return ""
        case "unsafe":
            named = len(lines) > 1 and CATEGORY.fullmatch(lines[1])
            return f"guard, {lines[1] if named else 'unsafe'}"
    return None


def guard(deployment: str, model: str) -> Deployment:
    """The deployment of a guard model.

    Raises:
        DeploymentError: there is none of that name, it doesn't run, or has no such model.
    """
    here = find(deployment)
    if not here.running:
        raise DeploymentError(
            f"The guard's deployment {deployment} is {here.state}.",
            here.reason,
            f"`finetui deployments start {deployment}`.",
        )
    names = [item.name for item in here.models]
    if model not in names:
        raise DeploymentError(
            f"The deployment {deployment} has no model {model!r}.",
            f"It has {', '.join(names)}.",
            "Name one of these.",
        )
    return here
