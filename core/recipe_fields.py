"""The settings of a recipe, each with its range, default and help: the one table behind form, command and documents.

A field that is not set means the backend's own default and is shown as such; the docstring under each field is its
help.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings import USED, setting
from core.source import Plain, Source


class RecipeFields(Plain):
    """Every key of a recipe, in the order of the form."""

    version: Literal[1] = 1
    """Version of the recipe's format."""

    name: str | None = setting("Run", local="<model and data>", azure=USED)
    """Name of the run; letters, digits, spaces, `.`, `_` and `-`."""
    backend: Literal["local", "azure"] | None = setting("Run", local="local", azure=USED)
    """Where it trains: on this machine, or as an Azure serverless job."""
    device: str | None = setting("Run", local="<first GPU, else cpu>")
    """`cpu`, or `cuda:N` as this machine numbers its GPUs."""
    devices: int | None = setting(
        "Run", local=1, usual="1 to 8", ge=1, le=64, effect="More is faster; a step has more rows."
    )
    """GPUs of this machine that train together, one process each; each adds its batch_size x accumulation rows to a
    step. On a CPU they are processes that share its cores: no faster, for trying it out."""
    nodes: int | None = setting(
        "Run", local=1, usual="1 to 8", ge=1, le=1024, effect="More is faster; a step has more rows."
    )
    """Machines that train together, each with `devices` devices; started on each of them with
    `finetui train RECIPE --rendezvous HOST:PORT`."""
    sharding: Literal["ddp", "fsdp"] | None = setting(
        "Run", local="ddp", effect="`fsdp` fits larger models and takes longer."
    )
    """With several devices: the whole model on each (`ddp`), or a part of each layer on each (`fsdp`, FSDP2: Zhao et
    al., 2023), for models that one device can't hold."""

    model: str = Field(
        json_schema_extra={"group": "Model", "expected": "a catalogue id, a hub id or a folder"}
    )
    """Base model: a catalogue id, a hub id (`owner/name`) or a folder."""
    model_revision: str | None = setting("Model", local="<the hub's newest, frozen in the run>")
    """Commit of the hub model."""
    init_from: str | None = setting(
        "Model", local="<the base as it is>", expected="a run's id, RUN@STEP or a folder"
    )
    """Go on from what an earlier run has trained: its id, `RUN@STEP` for one of its checkpoints, or the folder of a
    trained model. Method, rank and layers are that model's."""
    chat_template: str | None = setting("Model", local="<the model's own>")
    """A Jinja file, or the catalogue id of the model whose template to use. A base model
    without one needs it."""

    data: list[Source] = Field(
        min_length=1, json_schema_extra={"group": "Data", "expected": "a file, or a list of files"}
    )
    """Training rows: a file, or several with weights and caps; for Azure also a data asset, `azureml:NAME:VERSION`."""
    validation: str | None = setting("Data", local="<none, or a split by validation_fraction>", azure=USED)
    """File with validation rows; for Azure also a data asset."""
    validation_fraction: float | None = setting(
        "Data",
        local=0.0,
        azure=USED,
        usual="0.05 to 0.2",
        gt=0,
        le=0.5,
        effect="More rows measure better and train less.",
    )
    """Share of the training rows held out for validation, chosen by the seed."""
    task: Literal["chat", "completion", "classification", "dpo", "orpo"] | None = setting(
        "Data", local="chat", azure=USED
    )
    """What is learned of a row: `chat` the assistant's turns; `completion` a text, or what follows a prompt, without
    any chat template; `classification` the label of a text; `dpo` and `orpo` to prefer the chosen answer to the
    rejected one."""
    sequence_length: int | None = setting(
        "Data", local=2048, usual="512 to 4096", ge=16, le=131072, effect="Longer rows survive, memory grows."
    )
    """Longest row in tokens; what is beyond is cut, and a row with nothing left to learn is left out."""

    method: Literal["lora", "ia3", "full"] | None = setting("Method", local="lora")
    """What is trained: `lora` adds two small matrices to each chosen layer (Hu et al., 2021); `ia3` scales keys, values
    and the MLP (Liu et al., 2022); `full` trains the model's own weights."""
    quantization: Literal["nf4", "int8"] | None = setting(
        "Method", local="<none>", effect="Saves most of the weights' memory and takes more time."
    )
    """Number format of the frozen weights: 4 bits (QLoRA: Dettmers et al., 2023) or 8 bits; the adapter stays exact."""
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
    """Layers that are adapted, or trained with `full`: `all-linear` (right for every model here; with `full` every
    weight there is) or a list of module names."""
    last_layers: int | None = setting(
        "Method", local="<all>", ge=1, le=1000, effect="Fewer take less memory and time, and learn less."
    )
    """Adapt or train only so many decoder layers, the last ones."""
    modules_to_save: list[str] | None = setting("Method", local="<none>")
    """Modules that are trained whole beside an adapter, e.g. `lm_head` when tokens are new."""
    rslora: bool | None = setting("Method", local=False, effect="Lets a high rank learn as it should.")
    """Scale LoRA by alpha / sqrt(rank) (Kalajdzievski, 2023)."""
    dora: bool | None = setting(
        "Method", local=False, effect="Learns somewhat more at a low rank, takes longer."
    )
    """Train direction and magnitude of each layer's weights apart (DoRA: Liu et al., 2024)."""
    init: Literal["standard", "pissa", "loftq"] | None = setting(
        "Method",
        local="standard",
        effect="`pissa` learns faster at first, `loftq` begins nearer to the exact model; both begin later.",
    )
    """LoRA's first values: noise and zero, the weights' own main directions (PiSSA: Meng et al., 2024), or what `nf4`
    took from the weights (LoftQ: Li et al., 2023)."""
    lora_plus_ratio: float | None = setting(
        "Method", local=1.0, usual="2 to 16", ge=1, le=1000, effect="B learns so many times faster than A."
    )
    """Learning rate of LoRA's B over that of A (LoRA+: Hayou et al., 2024)."""

    learning_rate: float | None = setting(
        "Optimiser",
        local="<2e-4 with lora, by method and task>",
        azure="learning_rate",
        usual="5e-5 to 1e-3 with LoRA, a tenth with full",
        gt=0,
        le=1.0,
        effect="Higher learns faster until it diverges.",
    )
    """Step size at its highest point. LoRA wants about ten times what full fine-tuning does
    (Schulman et al., LoRA Without Regret, 2025); preferences want far less, IA3 more."""
    schedule: Literal["linear", "cosine", "constant", "inverse_sqrt", "warmup_stable_decay"] | None = setting(
        "Optimiser", local="cosine"
    )
    """How the learning rate falls after the warm-up: to zero linearly or by a cosine, not at all, with one over the
    root of the step, or only in the last tenth of the steps."""
    warmup: float | None = setting(
        "Optimiser", local=0.03, usual="0 to 0.1", ge=0, le=0.5, effect="Longer starts more gently."
    )
    """Share of the steps, rounded to whole ones, over which the learning rate rises from zero: less than half a step is
    no warm-up."""
    epochs: float | None = setting(
        "Optimiser",
        local=3.0,
        azure="num_train_epochs",
        usual="1 to 5",
        gt=0,
        le=1000,
        effect="More learns the rows better and forgets more.",
    )
    """Times each row is used."""
    max_steps: int | None = setting("Optimiser", local="<from epochs>", ge=1, le=100_000_000)
    """Stop after this many steps, whatever the epochs say."""
    batch_size: int | None = setting(
        "Optimiser",
        local=8,
        azure="per_device_train_batch_size",
        usual="1 to 32",
        ge=1,
        le=4096,
        effect="Larger steps are steadier and fewer.",
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
    optimizer: Literal["adamw", "adamw_8bit", "adafactor", "lion", "lion_8bit", "muon", "sgd"] | None = (
        setting("Optimiser", local="adamw", effect="`adamw_8bit` and `adafactor` save memory with `full`.")
    )
    """AdamW (Loshchilov and Hutter, 2019), the same with 8-bit moments, Adafactor, Lion (use a third of the learning
    rate), Muon for matrices with AdamW for the rest, or plain gradient descent."""
    weight_decay: float | None = setting("Optimiser", local=0.0, usual="0 to 0.1", ge=0, le=1.0)
    """Pulls the trained weights towards zero in each step."""
    max_grad_norm: float | None = setting("Optimiser", local=1.0, usual="0.3 to 1", ge=0, le=1000)
    """Gradients longer than this are scaled down to it; 0 leaves them."""
    loss: Literal["cross_entropy", "dft"] | None = setting("Optimiser", local="cross_entropy")
    """Cross-entropy of the next token, averaged over all trained tokens of a step; or the same weighted by the model's
    own probability of the token, which forgets less (DFT: Wu et al., 2025)."""
    label_smoothing: float | None = setting(
        "Optimiser", local=0.0, usual="0 to 0.1", ge=0, le=0.9, effect="More keeps the model from being sure."
    )
    """Share of the target spread evenly over all tokens or classes (Szegedy et al., 2016)."""
    neftune_alpha: float | None = setting(
        "Optimiser", local=0.0, usual="5 to 15", ge=0, le=1000, effect="More noise resists overfitting."
    )
    """Noise added to the embeddings while training, alpha / sqrt(length x width) (NEFTune: Jain et al., 2023)."""
    beta: float | None = setting(
        "Optimiser",
        local=0.1,
        usual="0.05 to 0.5",
        gt=0,
        le=100,
        effect="More stays closer to the base (DPO).",
    )
    """DPO's weight of the distance from the base (Rafailov et al., 2023); ORPO's weight of the odds ratio beside the
    chosen answer's loss (Hong et al., 2024)."""

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
    keep_best: bool | None = setting("Reports", local=False)
    """Keep the checkpoint with the lowest validation loss too, and make the model of it."""
    early_stopping: int | None = setting("Reports", local="<never>", usual="2 to 5", ge=1, le=1000)
    """Stop when so many evaluations in a row have not lowered the validation loss."""
    grace_s: float | None = setting("Reports", local=25.0, usual="the machine's own", ge=1, le=86_400)
    """Seconds between SIGTERM and the end of the process, as machine or job scheduler have it. A step that would
    take longer is dropped and the last one saved."""
    sample_prompts: list[str] | None = setting("Reports", local="<first prompts of the validation rows>")
    """Prompts answered at each evaluation, so that you see the model change."""
    sample_max_tokens: int | None = setting("Reports", local=48, ge=1, le=4096)
    """Longest sample reply in tokens."""
    seed: int | None = setting("Reports", local=42, azure=USED, ge=0, le=2**31 - 1)
    """Seed of the order of rows, of the split and of LoRA's first values."""
