"""`d` and `D` on the list of runs: deploying a run's model, and the page of deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import work

from tui.format import one_line
from tui.screens.run_actions import RunActions, registered

if TYPE_CHECKING:
    from core.runs.rows import RunRow
    from tui.app import FinetuiApp
    from tui.deploying import Deploys


class RunDeploys(RunActions):
    """A screen from which runs are deployed, one at a time, while everything else goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._deploys: Deploys | None = None

    def deploying_changed(self) -> None:
        """Called when `deploying` says something else."""
        raise NotImplementedError

    @property
    def deploys(self) -> Deploys:
        """What the app deploys."""
        if self._deploys is None:
            from tui.deploying import Deploys

            self._deploys = Deploys()
            self._deploys.listeners.append(self._told)
        return self._deploys

    @property
    def deploying(self) -> str:
        """What is being deployed, in a line; empty when nothing is."""
        return self._deploys.words if self._deploys is not None else ""

    def _told(self) -> None:
        if self.is_attached:
            self.deploying_changed()

    @work(group="deploy-dialog")
    async def action_deploy(self) -> None:
        row = self.chosen()
        if self.deploys.name:
            await stop_deploying(self.finetui, self.deploys)
        elif row is not None and registered(row):
            self.finetui.serve_in_azure("deploy", registered(row))
        elif row is not None:
            await ask_and_deploy(self.finetui, self.deploys, row)

    def action_deployments(self) -> None:
        from tui.screens.deployments import DeploymentsScreen

        self.app.push_screen(DeploymentsScreen(self.deploys))


def can_deploy(row: RunRow) -> bool:
    """Whether a run's model can be served: here, or where it is."""
    here = row.backend == "local" and bool(row.summary.model or row.summary.last_checkpoint)
    return here or bool(registered(row))


async def ask_and_deploy(app: FinetuiApp, deploys: Deploys, row: RunRow) -> None:
    """Ask how a run is to be deployed, and begin."""
    import asyncio

    from tui.deploying import offer
    from tui.widgets.deploydialog import DeployDialog

    offered = await asyncio.to_thread(offer, row)
    order = await app.push_screen_wait(DeployDialog(row.name, row.id, offered))
    if order is not None:
        deploys.begin(order, app)


async def stop_deploying(app: FinetuiApp, deploys: Deploys) -> None:
    """Offer to give up what is being deployed."""
    from tui.widgets.dialogs import Confirm

    loses = f"It is at: {one_line(deploys.phase)}. Nothing of it is kept."
    question = Confirm(f"Give up deploying {deploys.name}?", loses, "Give it up")
    if await app.push_screen_wait(question):
        deploys.stop()
