"""How a run ends other than by its backend: an exception told to the user, or a stop before the work began."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator

from core.errors import FinetuiError
from core.events import Failed, Paused, Stopped
from core.runs.directory import RunDirectory
from core.runs.summary import RunSummary

OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",  # torch's CPU allocator
    "out of memory",  # CUDA and MPS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cannot allocate memory",
)
DISK_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")
CUT_SHORT_TEXT = "PytorchStreamWriter failed writing"
"""What torch.save says when the disk is full; it doesn't name the cause."""
FULL_BYTES = 16 << 20

UNEXPECTED = "An unexpected error; the end of worker.log has the details."


def without_work(verb: str, run: RunDirectory, summary: RunSummary) -> Paused | Stopped:
    """The event for a run that is stopped or paused while no backend works on it: it ends at its newest checkpoint."""
    newest = next(reversed(run.checkpoints()), None)
    step = newest.step if newest else 0
    checkpoint = run.relative(newest.path) if newest else ""
    if verb == "pause":
        return Paused(step=step, checkpoint=checkpoint)
    model = summary.model if run.model_dir.is_dir() else ""
    return Stopped(step=step, model=model, checkpoint=checkpoint)


def explain(error: BaseException, run: RunDirectory, step: int) -> Failed:
    """The event for an exception. Call it before partial files are removed: they fill the disk it looks at."""
    if isinstance(error, FinetuiError):
        return Failed(what=error.what, cause=error.cause, next_step=error.next_step, step=step)
    chain = list(_chain(error))
    if any(_is_memory(item) for item in chain):
        return _memory(error, run, step)
    if any(_is_disk(item, run) for item in chain):
        return _disk(error, run, step)
    return Failed(
        what=_one_line(error),
        cause=UNEXPECTED,
        next_step=f"Read {run.log_path}, then `finetui resume {run.id}` to go on from the last checkpoint.",
        step=step,
    )


def _memory(error: BaseException, run: RunDirectory, step: int) -> Failed:
    return Failed(
        what=f"There was not enough memory for step {step + 1}.",
        cause=_one_line(error),
        next_step="Submit again with a smaller token_budget (what is learned stays the same), a shorter "
        "sequence_length, or gradient_checkpointing: true.",
        step=step,
    )


def _disk(error: BaseException, run: RunDirectory, step: int) -> Failed:
    free_bytes = shutil.disk_usage(run.path).free
    named = next(
        (str(item.filename) for item in _chain(error) if isinstance(item, OSError) and item.filename), ""
    )
    return Failed(
        what=f"The disk is full: {named or run.path} couldn't be written.",
        cause=f"{free_bytes / 1e6:.1f} MB are free there. {_one_line(error)}",
        next_step=f"Free space there, then `finetui resume {run.id}` goes on from the last checkpoint.",
        step=step,
    )


def _is_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which isn't imported here
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS))
    )


def _is_disk(error: BaseException, run: RunDirectory) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    if any(mark in text for mark in DISK_FULL_TEXTS):
        return True
    return CUT_SHORT_TEXT in text and shutil.disk_usage(run.path).free < FULL_BYTES


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
