"""From runs to a deployment: weights merged, training prompts profiled, safety set, tuning checked, gateway started.

Nothing is left behind when it fails before the end.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core import paths
from core.runs import supervisor
from core.serving import deployments, profile, regression, sockets, vllm
from core.serving.deployments import PORTS, Deployment
from core.serving.patterns import read_patterns
from core.serving.safety import BLOCK_LIST
from core.serving.served import Told, bases_of, exporter, resolve, slug, write_weights
from core.serving.settings import (
    DeploymentError,
    Limits,
    ServedModel,
    Settings,
    directory_of,
    new_key,
    read_settings,
    write_settings,
)
from core.serving.training_prompts import profiles_of

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Wish:
    """What is to be deployed, and how.

    Attributes:
        runs: each an id, a beginning of one, or a name; `RUN@STEP` means one of its checkpoints.
        name: of the deployment; made of the first run's name when None.
        with_base: serve the base models too.
        host: address to listen on.
        port: 0 lets the system choose, None takes the first free one of a range.
        safety: see core.serving.safety; of `patterns` with the `file` they are copied from.
        check: whether replies of base and tuned model are compared first.
    """

    runs: Sequence[str]
    name: str | None = None
    with_base: bool = False
    host: str = LOOPBACK
    port: int | None = None
    safety: dict[str, Any] = field(default_factory=lambda: {"kind": "off"})
    limits: Limits = field(default_factory=Limits)
    keep_texts: bool = False
    retention_days: int = 30
    price_in_usd: float = 0.0
    price_out_usd: float = 0.0
    warm: bool = True
    check: bool = True


@dataclass(frozen=True)
class Deployed:
    """What was made.

    Attributes:
        deployment: started, perhaps still loading its models.
        key: shown now and never again.
        notes: what the user should know, in sentences.
    """

    deployment: Deployment
    key: str
    notes: tuple[str, ...]


async def deploy(wish: Wish, told: Told) -> Deployed:
    """Deploy runs.

    Args:
        wish: what and how.
        told: called with what is being done.

    Raises:
        FinetuiError: it can't be done; nothing is left.
    """
    tuned = resolve(wish.runs)
    name = wish.name or slug(tuned[0].name)
    directory = directory_of(name)
    if directory.exists():
        raise DeploymentError(
            f"There is a deployment {name!r} already.",
            "",
            f"Choose another name (--name), or remove it: `finetui undeploy {name}`.",
        )
    port = sockets.free_port(wish.host, PORTS) if wish.port is None else _bound_port(wish.host, wish.port)
    _check_safety(wish.safety)
    key, sha256 = new_key()
    with _made_aside(directory, {item.run for item in tuned}) as aside:
        engine = "vllm" if vllm.usable() else "transformers"
        client = exporter()
        try:
            models = [await write_weights(item, aside, directory, engine, client, told) for item in tuned]
        finally:
            await client.close()
        bases = bases_of(tuned, {item.name for item in tuned}, aside, directory)
        told("reading the training prompts")
        profiles, notes = await asyncio.to_thread(profiles_of, tuned)
        profile.write(profiles, aside)
        safety = _copy_safety(wish.safety, aside)
        settings = Settings(
            name=name,
            created=time.time(),
            host=wish.host,
            port=port,
            key_sha256=sha256,
            models=tuple(models + (bases if wish.with_base else [])),
            engine=engine,
            safety=safety,
            limits=wish.limits,
            keep_texts=wish.keep_texts,
            retention_days=wish.retention_days,
            price_in_usd=wish.price_in_usd,
            price_out_usd=wish.price_out_usd,
            warm=wish.warm,
            stopped=True,
        )
        write_settings(aside, settings)
    try:
        checked = await _checked(wish, models, bases, told)
        write_settings(directory, replace(settings, regression=checked))
        told("starting the gateway")
        deployment = await asyncio.to_thread(deployments.start, name)
        if deployment.state == "failed":
            raise DeploymentError(f"The gateway of {name} failed.", deployment.reason, deployment.next_step)
    except BaseException:
        await asyncio.to_thread(deployments.remove, name)
        raise
    return Deployed(deployment, key, tuple(notes))


def _bound_port(host: str, port: int) -> int:
    with sockets.bind_tcp(host, port) as server:
        return int(server.getsockname()[1])


@contextmanager
def _made_aside(directory: Path, runs: Iterable[str]) -> Iterator[Path]:
    """A folder that becomes the deployment's directory when all went well and none of its runs is being deleted."""
    aside = directory.with_name(f".new-{directory.name}")
    paths.make_private(directory.parent)
    shutil.rmtree(aside, ignore_errors=True)  # of a deploy that was killed
    paths.make_private(aside)
    try:
        yield aside
        with ExitStack() as held:
            for run in sorted(runs):
                held.enter_context(supervisor.changing(run))
            aside.rename(directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


# Safety


def _check_safety(setting: dict[str, Any]) -> None:
    """See that it can be had, before anything is done.

    Raises:
        FinetuiError: it can't.
    """
    match setting["kind"]:
        case "patterns":
            read_patterns(Path(setting["file"]))
        case "azure":
            from core.serving.safety_azure import check_environment

            check_environment()
        case "guard":
            from core.serving.safety_guard import guard

            guard(setting["deployment"], setting["model"])


def _copy_safety(setting: dict[str, Any], directory: Path) -> dict[str, Any]:
    if setting["kind"] != "patterns":
        return setting
    paths.write_private(directory / BLOCK_LIST, Path(setting["file"]).read_bytes())
    return {"kind": "patterns"}


# The check


async def _checked(
    wish: Wish, tuned: Sequence[ServedModel], bases: Sequence[ServedModel], told: Told
) -> dict[str, Any]:
    """What the check says of each tuned model, by name."""
    found: dict[str, Any] = {}
    to_ask: dict[str, list[ServedModel]] = {}
    by_base = {model.base: model for model in bases}
    for model in tuned:
        base = by_base.get(model.base)
        if not wish.check:
            found[model.name] = {"skipped": "asked for"}
        elif base is None or not (model.chat and base.chat):
            found[model.name] = {"skipped": "its base is gone or knows no conversations"}
        elif (known := known_check(model)) is not None:
            found[model.name] = known
        else:
            to_ask.setdefault(model.base, []).append(model)
    for name, models in to_ask.items():
        results = await regression.compare(by_base[name], models, told)
        found.update({model: result.as_data() for model, result in results.items()})
    return found


def known_check(model: ServedModel) -> dict[str, Any] | None:
    """What was found when the same model was deployed before."""
    for other in deployments.all_deployments():
        for item in other.models:
            if (item.run, item.checkpoint, item.kind) == (model.run, model.checkpoint, "tuned"):
                found = (other.settings.regression or {}).get(item.name)
                if found is not None and "skipped" not in found:
                    return dict(found)
    return None


def regression_of(name: str) -> dict[str, Any]:
    """What the check said of a deployment's models, by name.

    Raises:
        DeploymentError: there is no such deployment.
    """
    return read_settings(directory_of(name)).regression or {}
