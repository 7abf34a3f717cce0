"""What to train, on what, how and where: one pydantic model, one YAML file.

A field that is not set means the backend's own default and is shown as such; a set field is used or refused
by name. The docstring under each field is its help; `fields()` is the one table from which the form, the
command line, the checks and the documentation are made.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from core import yamltext
from core.complaints import complaints
from core.errors import FinetuiError
from core.settings import FieldInfo, field_info, setting
from core.source import Plain, Source

TEMPLATE_SUFFIXES = (".jinja", ".jinja2", ".txt")


class RecipeError(FinetuiError):
    """A recipe that can't be used; `problems` lists (key, sentence) for a form to place them."""

    def __init__(self, problems: list[tuple[str, str]], origin: str = "recipe") -> None:
        super().__init__(
            "\n".join(f"{origin}: {sentence}" for _, sentence in problems),
            next_step="Change the named key. `finetui recipe` lists every key with its range and meaning.",
        )
        self.problems = problems


class Recipe(Plain):
    """Everything that decides a run."""

    version: Literal[1] = 1
    """Version of the recipe's format."""

    name: str | None = setting("Run", local="<model and data>")
    """Name of the run; letters, digits, spaces, `.`, `_` and `-`."""
    backend: Literal["local", "azure"] | None = setting("Run", local="local")
    """Where it trains: on this machine, or as an Azure serverless job."""
    device: str | None = setting("Run", local="<first GPU, else cpu>")
    """`cpu`, or `cuda:N` as this machine numbers its GPUs."""

    model: str = Field(
        json_schema_extra={"group": "Model", "expected": "a catalogue id, a hub id or a folder"}
    )
    """Base model: a catalogue id, a hub id (`owner/name`) or a folder."""
    model_revision: str | None = setting("Model", local="<the hub's newest, frozen in the run>")
    """Commit of the hub model."""
    chat_template: str | None = setting("Model", local="<the model's own>")
    """A Jinja file, or the catalogue id of the model whose template to use. A base model
    without one needs it."""

    data: list[Source] = Field(
        min_length=1, json_schema_extra={"group": "Data", "expected": "a file, or a list of files"}
    )
    """Training rows: a file, or several with weights and caps."""
    validation: str | None = setting("Data", local="<none, or a split by validation_fraction>")
    """File with validation rows."""
    validation_fraction: float | None = setting(
        "Data",
        local=0.0,
        usual="0.05 to 0.2",
        gt=0,
        le=0.5,
        effect="More rows measure better and train less.",
    )
    """Share of the training rows held out for validation, chosen by the seed."""
    task: Literal["chat"] | None = setting("Data", local="chat")
    """What a row is: `chat` learns the assistant's turns of a conversation."""
    sequence_length: int | None = setting(
        "Data", local=2048, usual="512 to 4096", ge=16, le=131072, effect="Longer rows survive, memory grows."
    )
    """Longest row in tokens; what is beyond is cut, and a row with nothing left to learn is left out."""

    method: Literal["lora"] | None = setting("Method", local="lora")
    """What is trained: `lora` adds two small matrices to each chosen layer and leaves the model as it is."""
    rank: int | None = setting(
        "Method", local=16, usual="8 to 64", ge=1, le=1024, effect="More learns more and takes more memory."
    )
    """Width of the two matrices LoRA adds to each layer."""
    alpha: float | None = setting(
        "Method",
        local="<2 x rank>",
        usual="1 to 2 x rank",
        gt=0,
        le=4096,
        effect="Scales what LoRA adds by alpha / rank.",
    )
    """LoRA's scale: its update is multiplied by alpha / rank."""
    dropout: float | None = setting(
        "Method", local=0.0, usual="0 to 0.1", ge=0, le=0.9, effect="More resists overfitting on few rows."
    )
    """Share of LoRA's inputs zeroed at random in each step."""
    target_modules: str | list[str] | None = setting(
        "Method", local="all-linear", expected="`all-linear` or a list of module names"
    )
    """Layers LoRA is added to: `all-linear` (right for every model here) or a list of module names."""

    learning_rate: float | None = setting(
        "Optimiser",
        local=2e-4,
        usual="5e-5 to 1e-3 with LoRA",
        gt=0,
        le=1.0,
        effect="Higher learns faster until it diverges.",
    )
    """Step size at its highest point. LoRA wants about ten times what full fine-tuning does
    (Schulman et al., LoRA Without Regret, 2025)."""
    schedule: Literal["linear", "cosine", "constant"] | None = setting("Optimiser", local="cosine")
    """How the learning rate falls after the warm-up: to zero linearly or by a cosine, or not at all."""
    warmup: float | None = setting(
        "Optimiser", local=0.03, usual="0 to 0.1", ge=0, le=0.5, effect="Longer starts more gently."
    )
    """Share of the steps over which the learning rate rises from zero."""
    epochs: float | None = setting(
        "Optimiser",
        local=3.0,
        usual="1 to 5",
        gt=0,
        le=1000,
        effect="More learns the rows better and forgets more.",
    )
    """Times each row is used."""
    max_steps: int | None = setting("Optimiser", local="<from epochs>", ge=1, le=100_000_000)
    """Stop after this many steps, whatever the epochs say."""
    batch_size: int | None = setting(
        "Optimiser", local=8, usual="1 to 32", ge=1, le=4096, effect="Larger steps are steadier and fewer."
    )
    """Rows of one batch; Azure computes them at once."""
    accumulation: int | None = setting(
        "Optimiser", local=1, usual="1 to 32", ge=1, le=4096, effect="Larger steps, as batch_size."
    )
    """Batches added up for one step; a step learns from batch_size x accumulation rows."""
    token_budget: int | None = setting(
        "Optimiser",
        local="<1024 on a CPU, 4096 on a GPU>",
        usual="512 to 16384",
        ge=64,
        le=1_048_576,
        effect="More takes more memory, and is faster on a GPU; what is learned stays the same.",
    )
    """Tokens computed at once. The rows of a step are cut into packs of at most so many; common
    beginnings count once, and a longer row is a pack of its own."""
    row_order: Literal["shuffled", "similar"] | None = setting(
        "Optimiser",
        local="shuffled",
        effect="`similar` computes less where many beginnings are shared.",
    )
    """Which rows make a step: any, or rows that begin alike. `similar` is faster, but a step then sees
    less variety than a plain shuffle gives it; the steps themselves stay shuffled."""
    optimizer: Literal["adamw"] | None = setting("Optimiser", local="adamw")
    """AdamW (Loshchilov and Hutter, 2019)."""
    weight_decay: float | None = setting("Optimiser", local=0.0, usual="0 to 0.1", ge=0, le=1.0)
    """Pulls the trained weights towards zero in each step."""
    max_grad_norm: float | None = setting("Optimiser", local=1.0, usual="0.3 to 1", ge=0, le=1000)
    """Gradients longer than this are scaled down to it; 0 leaves them."""
    loss: Literal["cross_entropy"] | None = setting("Optimiser", local="cross_entropy")
    """Cross-entropy of the next token, averaged over all trained tokens of a step."""

    precision: Literal["fp32", "bf16", "fp16"] | None = setting(
        "Memory", local="<bf16 on a GPU that has it, else fp32>"
    )
    """Number format of the computation."""
    gradient_checkpointing: bool | None = setting(
        "Memory", local=False, effect="Saves memory, takes a third more time."
    )
    """Compute activations again in the backward pass instead of keeping them."""

    evaluate_every: int | None = setting("Reports", local="<a fifth of the run>", ge=1)
    """Steps between two evaluations on the validation rows."""
    checkpoint_every: int | None = setting("Reports", local="<a fifth of the run>", ge=1)
    """Steps between two checkpoints; stop and pause always write one."""
    keep_checkpoints: int | None = setting("Reports", local=2, ge=1, le=1000)
    """Newest checkpoints kept."""
    grace_s: float | None = setting("Reports", local=25.0, usual="the machine's own", ge=1, le=86_400)
    """Seconds between SIGTERM and the end of the process, as machine or job scheduler have it. A step that would
    take longer is dropped and the last one saved."""
    sample_prompts: list[str] | None = setting("Reports", local="<first prompts of the validation rows>")
    """Prompts answered at each evaluation, so that you see the model change."""
    sample_max_tokens: int | None = setting("Reports", local=48, ge=1, le=4096)
    """Longest sample reply in tokens."""
    seed: int | None = setting("Reports", local=42, ge=0, le=2**31 - 1)
    """Seed of the order of rows, of the split and of LoRA's first values."""

    @field_validator("data", mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        """Accept one file name or mapping, or a list that mixes them."""
        if isinstance(value, str | dict):
            value = [value]
        if isinstance(value, list):
            return [{"path": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("target_modules")
    @classmethod
    def _names(cls, value: str | list[str] | None) -> str | list[str] | None:
        """One spelling for one meaning: `all-linear` is a word, everything else a list of names."""
        if value in (["all-linear"], "all-linear", None):
            return value and "all-linear"
        names = [value] if isinstance(value, str) else value
        if not names or not all(name.strip() for name in names or ()) or "all-linear" in names:
            raise PydanticCustomError("names", "names")
        return names

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^\W_][\w .-]{0,79}", value):
            raise ValueError(
                "use up to 80 letters, digits, spaces, '.', '_' or '-', starting with a letter or digit"
            )
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", value):
            raise ValueError("use `cpu`, `cuda` or `cuda:N`")
        return value

    @model_validator(mode="after")
    def _one_validation(self) -> Recipe:
        if self.validation is not None and self.validation_fraction is not None:
            raise ValueError("`validation` and `validation_fraction` are both set; keep one")
        return self

    def value(self, name: str) -> Any:
        """The set value of a field, or the local backend's default (None where that is a rule)."""
        value = getattr(self, name)
        if value is not None:
            return value
        default = field(name).local
        return None if isinstance(default, str) and default.startswith("<") else default

    @property
    def title(self) -> str:
        """The run's name, made from model and data when none is set."""
        if self.name:
            return self.name
        return f"{Path(self.model).name}-{Path(self.data[0].title).stem}".lower()

    def absolute(self, base: Path) -> Recipe:
        """The same recipe with its relative files and folders taken from `base`."""

        def place(text: str) -> str:
            path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own fails for an unknown ~user
            return str(path if path.is_absolute() else (base / path).resolve())

        change: dict[str, Any] = {
            "data": [
                item.model_copy(update={"path": place(item.path)} if item.path else {}) for item in self.data
            ]
        }
        if self.validation:
            change["validation"] = place(self.validation)
        if self.model.startswith((".", "/", "~")) or (base / self.model / "config.json").is_file():
            change["model"] = place(self.model)
        if self.chat_template and self.chat_template.endswith(TEMPLATE_SUFFIXES):
            change["chat_template"] = place(self.chat_template)
        return self.model_copy(update=change)


@functools.cache
def fields() -> tuple[FieldInfo, ...]:
    """The table of settings, in the order of the form."""
    return tuple(field_info(name, item) for name, item in Recipe.model_fields.items() if name != "version")


def field(name: str) -> FieldInfo:
    """One row of the table."""
    return next(item for item in fields() if item.name == name)


def load(path: Path) -> Recipe:
    """Read a recipe; its relative paths are taken from the recipe's own folder.

    Raises:
        RecipeError: unreadable, not YAML, or a key is wrong; names key, value and what was expected.
    """
    try:
        with path.open("rb") as file:
            text = file.read(4 * yamltext.MAX_CHARACTERS + 1).decode()
    except FileNotFoundError:
        raise RecipeError([("", "There is no such file.")], str(path)) from None
    except OSError as error:
        raise RecipeError([("", f"The file can't be read: {error.strerror}.")], str(path)) from error
    except UnicodeDecodeError as error:
        raise RecipeError([("", f"It is not UTF-8 text: byte {error.start + 1}.")], str(path)) from error
    return parse(text, str(path)).absolute(path.absolute().parent)


def parse(text: str, origin: str = "recipe") -> Recipe:
    """A recipe from YAML text.

    Raises:
        RecipeError: as in `load`.
    """
    try:
        content = yamltext.read(text)
    except ValueError as error:
        raise RecipeError([("", f"{error}.")], origin) from error
    if not isinstance(content, dict):
        raise RecipeError(
            [("", "A recipe is a mapping of keys to values, e.g. `model: smollm2-135m-instruct`.")], origin
        )
    return build(content, origin)


def build(content: dict[str, Any], origin: str = "recipe") -> Recipe:
    """A recipe from plain values.

    Raises:
        RecipeError: a key is unknown, or a value is not what its key expects.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        source = {name: field_info(name, item) for name, item in Source.model_fields.items()}
        recipe = {name: field_info(name, item) for name, item in Recipe.model_fields.items()}
        raise RecipeError(complaints(error.errors(), recipe, source), origin) from error


def dump(recipe: Recipe) -> str:
    """The recipe as YAML: the set keys only, in the order of the form."""
    content = recipe.model_dump(exclude_none=True, exclude_defaults=False)
    content["data"] = [_short_source(item) for item in content["data"]]
    if len(content["data"]) == 1 and isinstance(content["data"][0], str):
        content["data"] = content["data"][0]
    return yamltext.write(content)


def _short_source(source: dict[str, Any]) -> str | dict[str, Any]:
    short = {key: value for key, value in source.items() if not (key == "weight" and value == 1.0)}
    return str(short["path"]) if set(short) == {"path"} else short
