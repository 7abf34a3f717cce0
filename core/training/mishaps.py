"""What goes wrong in training, in words: errors that end it and warnings that don't."""

from __future__ import annotations

from core.errors import FinetuiError
from core.events import Warned


class TrainingError(FinetuiError):
    """Training can't go on."""

    exit_code = 1


def diverged(step: int, value: float, what: str = "loss") -> TrainingError:
    """The loss of a step, or the norm of its gradient, is no number."""
    return TrainingError(
        f"The {what} became {value} at step {step}.",
        "The weights have diverged; going on would only train nonsense.",
        "Lower `learning_rate`, lengthen `warmup`, or use `precision: fp32`; "
        "the last checkpoint from before is kept.",
    )


def too_long(step: int, longest: int) -> TrainingError:
    """Not even one row fits into memory; the longest has so many tokens."""
    return TrainingError(
        f"Memory ran out at step {step}.",
        f"Not even one row at a time fits: the longest of the step has {longest} tokens.",
        "Set `gradient_checkpointing: true`, lower `sequence_length`, or choose a smaller model; "
        "`finetui resume` goes on from the last checkpoint when other programs have left the memory.",
    )


def too_long_to_measure(longest: int) -> TrainingError:
    """Not even one validation row fits into memory; the longest has so many tokens."""
    return TrainingError(
        "Memory ran out while the validation rows were measured.",
        f"Not even one row at a time fits: the longest has {longest} tokens.",
        "Lower `sequence_length`, choose a smaller model, or train without validation rows; "
        "the last checkpoint is kept.",
    )


def too_much_for_parts(step: int, budget: int) -> TrainingError:
    """Memory ran out on one of several devices that compute every layer together."""
    return TrainingError(
        f"Memory ran out at step {step}.",
        "With `sharding: fsdp` all devices compute a layer together, so one alone can't begin its step anew.",
        f"Train again with `token_budget: {max(64, budget // 2)}`, or with `gradient_checkpointing: true`.",
    )


def computes_less(step: int, budget: int) -> Warned:
    """Memory ran out, and the step was begun anew with less at once."""
    return Warned(
        text=f"Memory ran out at step {step}. From here on at most {budget} tokens are computed at once; "
        "what is learned stays the same.",
        next_step=f"Set `token_budget: {budget}` next time.",
    )


def measures_less(budget: int) -> Warned:
    """Memory ran out, and the validation rows are measured anew with less at once."""
    return Warned(
        text="Memory ran out while the validation rows were measured. "
        f"From here on at most {budget} tokens of them are computed at once; the loss stays the same.",
    )


def too_large_to_sample(step: int) -> Warned:
    """Memory ran out, and there are no replies of this step."""
    return Warned(
        text=f"Memory ran out while the model was replying at step {step}: these replies are left out.",
        next_step="Lower `sample_max_tokens`, or ask for fewer `sample_prompts`.",
    )


def dropped(step: int, grace_s: float) -> Warned:
    """There was no time left for a step."""
    return Warned(
        text=f"Step {step} was dropped: with it and a checkpoint, the process would have ended later "
        f"than the {grace_s:g} s it is given.",
        next_step="Set `grace_s` if the machine gives more time.",
    )


def disk_full(step: int, free_bytes: int, asked: str) -> Warned:
    """A checkpoint was not written; a stop or pause that was to come after it is not done."""
    goes_on = f" The run was not {'stopped' if asked == 'stop' else 'paused'} and goes on." if asked else ""
    return Warned(
        text=f"The disk is full: checkpoint {step} could not be written ({free_bytes >> 20} MB free).{goes_on}",
        next_step="Free space on the disk of the run directory; the next checkpoint tries again.",
    )
