"""What of a run is served: which model is meant, and its weights as an engine takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import paths
from core.data.model_files import own_template, read_json
from core.data.sandbox import RenderingError
from core.pipes import PipeClient
from core.runs import manifest, supervisor
from core.runs.directory import RunDirectory
from core.runs.rows import RunRow
from core.serving import vllm
from core.serving.placing import DTYPES, expected_precision
from core.serving.settings import NAME, DeploymentError, ServedModel
from core.training.export_source import Source, read, weights_bytes
from core.training.memory import read_shape

Told = Callable[[str], None]


@dataclass(frozen=True)
class Tuned:
    """A run's model that is to be served under a name."""

    name: str
    run: str
    checkpoint: int | None
    source: Source


def resolve(refs: Sequence[str]) -> list[Tuned]:
    """The models that are meant, each under a name of its own.

    Raises:
        RunError: there is no such run.
        DeploymentError: it has no such model, or one that gives no text.
    """
    found: list[Tuned] = []
    for ref in refs:
        parted = re.fullmatch(r"(.+)@(\d{1,12})", ref)
        name, step = (parted[1], int(parted[2])) if parted else (ref, None)
        row = supervisor.get(name)
        folder = _folder(RunDirectory(row.directory), row, step)
        source = read(row.directory, folder)
        if source.task == "classification":
            raise DeploymentError(
                f"{row.name} is a classifier: it gives labels, no text.",
                "OpenAI's API has no call for it.",
                f"`finetui export {row.id} --to merged` writes it for transformers' pipeline.",
            )
        if any((item.run, item.checkpoint) == (row.id, step) for item in found):
            raise DeploymentError(f"{ref} is named twice.", "", "Name each model once.")
        at = f"@{step}" if step is not None else ""
        taken = {item.name for item in found}
        title = (row.id if slug(row.name) + at in taken else slug(row.name)) + at
        found.append(Tuned(title, row.id, step, source))
    return found


def _folder(run: RunDirectory, row: RunRow, step: int | None) -> Path:
    name = row.name
    steps = {item.step: item.path for item in run.checkpoints()}
    if step is not None and step not in steps:
        raise DeploymentError(
            f"{name} has no checkpoint of step {step}.",
            f"Kept are: {', '.join(map(str, steps)) or 'none'}.",
            "Name one of these.",
        )
    if step is None and manifest.read(run.model_dir) is not None:
        folder = run.model_dir
    elif steps:
        folder = steps[step if step is not None else max(steps)]
    else:
        raise DeploymentError(f"{name} has no model yet.", *row.without_model)
    if damage := manifest.damage(folder):
        raise DeploymentError(
            f"The model of {name} is damaged.", damage, "Deploy another checkpoint (--checkpoint)."
        )
    return folder


def slug(text: str) -> str:
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:40].strip("-._")
    return plain if NAME.fullmatch(plain) else "model"


def exporter() -> PipeClient:
    """The process that writes weights; it loads torch once for all models."""
    log = paths.make_private(paths.logs_dir()) / "export-worker.log"
    return PipeClient("core.training.export_worker", log)


async def write_weights(
    tuned: Tuned, aside: Path, directory: Path, engine: str, client: PipeClient, told: Told
) -> ServedModel:
    """Write what is served of a run's model into the deployment.

    Args:
        tuned: the model.
        aside: the deployment's directory as long as it is being made.
        directory: what that becomes.
        engine: `transformers` or `vllm`.
        client: of `exporter`.
        told: called with what is being done.
    """
    source = tuned.source
    native = (
        engine == "vllm"
        and source.kind == "adapter"
        and source.template is None
        and vllm.takes_adapter(source.folder)
    )
    out = aside / "models" / tuned.name
    request = {
        "run": str(source.run),
        "folder": str(source.folder),
        "to": "adapter" if native else "merged",
        "out": str(out),
        "dtype": "auto" if engine == "vllm" else DTYPES[expected_precision()],
    }
    async for kind, value in client.stream("export", **request):
        if kind == "chunk":
            told(f"{tuned.name}: {value['phase']}")
    return ServedModel(
        name=tuned.name,
        kind="tuned",
        run=tuned.run,
        checkpoint=tuned.checkpoint,
        folder=str(directory / "models" / tuned.name),
        base=source.base_name,
        bytes=weights_bytes(out),
        parameters=0 if native else read_shape(out).parameters,
        chat=_has_template(out),
        adapter_on=str(source.base) if native else "",
    )


def _has_template(folder: Path) -> bool:
    try:
        own_template(folder, read_json(folder / "tokenizer_config.json"))
    except RenderingError:
        return False
    return True


def bases_of(tuned: Sequence[Tuned], taken: set[str], aside: Path, directory: Path) -> list[ServedModel]:
    """The base models, each once."""
    found: dict[Path, ServedModel] = {}
    for item in tuned:
        source = item.source
        if source.base in found or not (source.base / "config.json").exists():
            continue
        name = slug(source.recipe.model.rstrip("/").rpartition("/")[2])
        while name in taken:
            name += "-base"
        taken.add(name)
        folder, chat = source.base, _has_template(source.base)
        if not chat and source.template is not None:
            folder, chat = directory / "models" / name, True
            _with_template(source.base, source.template, aside / "models" / name)
        found[source.base] = ServedModel(
            name=name,
            kind="base",
            run=item.run,
            checkpoint=None,
            folder=str(folder),
            base=source.base_name,
            bytes=weights_bytes(source.base),
            parameters=read_shape(source.base).parameters,
            chat=chat,
        )
    return list(found.values())


def _with_template(base: Path, template: str, out: Path) -> None:
    """A base without a chat template, with that of the training: links, and one file."""
    out.mkdir(parents=True)
    for path in base.iterdir():
        (out / path.name).symlink_to(path)
    (out / "chat_template.jinja").write_text(template, encoding="utf-8")
