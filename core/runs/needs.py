"""What keeps a run, or one of its checkpoints, from being deleted: who serves it, and who is about to start from it."""

from __future__ import annotations

from collections.abc import Callable

from core.runs import directory, lineage
from core.runs.directory import RunDirectory, RunError
from core.runs.lineage import Deployment

INITIAL = "init"
"""In a run's data: its own copy of the weights it was initialised from."""


def refuse_served(run: RunDirectory, name: str, step: int | None = None) -> None:
    """See that no deployment serves a run, or one of its checkpoints.

    Args:
        run: which.
        name: how the user knows it.
        step: of the checkpoint; None for the run and all of it.

    Raises:
        RunError: one does; names it and the command that takes it down.
    """
    used = [item for item in lineage.deployments_of(run) if step is None or _serves(item, run, step)]
    if used:
        what = name if step is None else f"The checkpoint of step {step} of {name}"
        names = list(dict.fromkeys(item.name for item in used))
        raise RunError(
            f"{what} is served: it can't be deleted.",
            f"{'The deployment' if len(names) == 1 else 'The deployments'} {', '.join(names)} would break.",
            "; ".join(f"`finetui undeploy {item}`" for item in names) + " first.",
        )


def _serves(deployment: Deployment, run: RunDirectory, step: int) -> bool:
    """Whether it is this checkpoint that is served; the run alone means its model, or its newest checkpoint."""
    if deployment.part:
        return f"{deployment.part}/".startswith(f"checkpoints/step-{step}/")
    steps = [checkpoint.step for checkpoint in run.checkpoints()]
    return not run.model_dir.is_dir() and step == max(steps, default=0)


def refuse_awaited(
    run: RunDirectory, name: str, active: Callable[[RunDirectory], bool], step: int | None = None
) -> None:
    """See that no run is about to start from a run's weights, or from those of one of its checkpoints.

    Args:
        run: which.
        name: how the user knows it.
        active: whether a worker is at a run.
        step: of the checkpoint; None for the run and all of it.

    Raises:
        RunError: one is, and has not copied them yet.
    """
    for child in lineage.children_of(run):
        other = None if child.trashed or step not in (None, child.step) else directory.find(child.id)
        if other is not None and not (other.data_dir / INITIAL).exists() and active(other):
            raise RunError(
                f"{name} can't be deleted: {child.name} is to start from its weights.",
                "It has not copied them yet.",
                f"Delete it when {child.name} trains (`finetui watch {child.id}`), or `finetui stop {child.id}`.",
            )
