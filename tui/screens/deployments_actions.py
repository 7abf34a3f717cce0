"""What the keys of the deployments screen do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from textual import work

from core.errors import FinetuiError
from tui.deployment_text import removed_words
from tui.format import count, one_line, size
from tui.screens.base import ModeScreen

if TYPE_CHECKING:
    from core.runs.rows import RunRow
    from core.serving.deployments import Deployment
    from tui.deploying import Deploys
    from tui.deployment_watch import Watched
    from tui.widgets.log import LogView

Result = TypeVar("Result")


class DeploymentActions(ModeScreen):
    """A screen with a chosen deployment."""

    deploys: Deploys
    items: list[Watched] | None
    busy: dict[str, str]
    """What is being done to deployments, by name: a state that is shown in place of theirs."""

    def chosen(self) -> Watched | None:
        """The deployment that the keys are about."""
        raise NotImplementedError

    def look(self) -> None:
        """Look at the deployments again."""
        raise NotImplementedError

    def doing(self, name: str) -> str:
        """What is being done to a deployment by this app, as a state; empty when nothing is."""
        return "starting" if name == self.deploys.name else self.busy.get(name, "")

    def pane(self) -> LogView | None:
        """The pane that follows its end, of those in sight."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        item = self.chosen()
        if action in ("open", "copy", "key", "remove", "panes", "start", "stop", "restart", "chat", "write"):
            return item is not None and self._possible(action, item)
        if action in ("filter", "period"):
            return bool(self.items)
        if action == "follow":
            return self.pane() is not None
        return super().check_action(action, parameters)

    def _possible(self, action: str, item: Watched) -> bool:
        here = item.deployment
        sound, rests = bool(here.settings.created), not self.doing(here.name)
        match action:
            case "start":
                return sound and rests and not here.running
            case "stop" | "restart":
                return sound and rests and here.running
            case "key":
                return sound and rests
            case "remove":
                return rests
            case "chat":
                return here.running and any(model.chat for model in here.models)
            case "copy":
                return bool(here.port)
            case "write":
                return item.bytes > 0
        return True

    # -- changing one

    async def attempt(self, function: Callable[..., Result], *arguments: Any) -> Result | None:
        """Call a blocking function in a thread; its error for users is shown, and None returned."""
        try:
            return await asyncio.to_thread(function, *arguments)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return None

    async def _change(self, name: str, busy: str, function: Callable[[str], Result]) -> Result | None:
        """Do something to a deployment that may take a while; its row says so meanwhile."""
        self.busy[name] = busy
        self.look()
        try:
            return await self.attempt(function, name)
        finally:
            del self.busy[name]
            if self.is_attached:
                self.look()

    @work(group="change")
    async def action_start(self) -> None:
        from core.serving import deployments

        if (item := self.chosen()) is not None:
            started = await self._change(item.deployment.name, "starting", deployments.start)
            if started is not None and started.state == "failed":
                self.finetui.show_error(_failed(started))

    @work(group="change")
    async def action_stop(self) -> None:
        from core.serving import deployments
        from tui.deployment_text import stop_question

        if (item := self.chosen()) is not None and await self._sure(stop_question(item.deployment, False)):
            await self._change(item.deployment.name, "stopping", deployments.stop)

    @work(group="change")
    async def action_restart(self) -> None:
        from core.serving import deployments
        from tui.deployment_text import stop_question

        if (item := self.chosen()) is not None and await self._sure(stop_question(item.deployment, True)):
            started = await self._change(item.deployment.name, "starting", deployments.restart)
            if started is not None and started.state == "failed":
                self.finetui.show_error(_failed(started))

    async def _sure(self, question: tuple[str, str, str]) -> bool:
        from tui.widgets.dialogs import Confirm

        return await self.app.push_screen_wait(Confirm(*question))

    @work(group="change")
    async def action_key(self) -> None:
        from core.serving import deployments
        from tui.deploying import Made
        from tui.deployment_text import key_question
        from tui.widgets.deploydialog import KeyDialog

        item = self.chosen()
        if item is None or not await self._sure(key_question(item.deployment)):
            return
        here = item.deployment
        key = await self.attempt(deployments.rotate_key, here.name)
        if key is not None:
            self.app.push_screen(KeyDialog(Made(here.name, here.url, key, ())))

    @work(group="change")
    async def action_remove(self) -> None:
        from core.serving import trash
        from tui.deploying import folder_bytes
        from tui.deployment_text import remove_question

        item = self.chosen()
        if item is None:
            return
        name = item.deployment.name
        taken = await self.attempt(folder_bytes, item.deployment.directory)
        found = await self.attempt(trash.dependents, name)
        if found is None:
            return
        if await self._sure(remove_question(item, taken or 0, found)):
            gone = await self._change(name, "stopping", trash.remove)
            if gone is not None:
                self.notify(
                    f"{name} is in the trash. u brings it back; `finetui clean` frees its {size(gone.bytes)} now."
                )

    @work(group="change")
    async def action_undo(self) -> None:
        """Bring back a removed deployment that is chosen from a list."""
        from core.serving import trash
        from tui.widgets.dialogs import Choose

        removed = await asyncio.to_thread(trash.all_removed)
        if not removed:
            self.notify("The trash is empty: removed deployments stay there for 30 days.")
            return
        options = [(item.id, item.name, removed_words(item)) for item in removed]
        chosen = await self.app.push_screen_wait(Choose("Bring back which deployment?", options))
        if chosen is not None and (here := await self.attempt(trash.restore, chosen)) is not None:
            self.notify(f"{here.name} is back, stopped: a starts it.")
            self.look()

    @work(thread=True, group="sweep")
    def sweep_trash(self) -> None:
        """Take away for good what has been in the trash for 30 days."""
        from core.serving import trash
        from tui.screens import trashes

        trashes.sweep(self, trash.sweep, "deployment")

    # -- the rest

    @work(group="deploy-dialog")
    async def action_new(self) -> None:
        """Deploy a run that is chosen from a list."""
        from tui.screens.runs_deploy import ask_and_deploy, can_deploy, stop_deploying
        from tui.widgets.dialogs import Choose

        if self.deploys.name:
            await stop_deploying(self.finetui, self.deploys)
            return
        rows = [row for row in await asyncio.to_thread(_runs) if can_deploy(row)]
        if not rows:
            self.notify("No run has a model yet: 2 sets up a run.")
            return
        options = [(row.id, row.name, row.model) for row in rows]
        chosen = await self.app.push_screen_wait(Choose("Deploy the model of", options))
        row = next((row for row in rows if row.id == chosen), None)
        if row is not None:
            await ask_and_deploy(self.finetui, self.deploys, row)

    @work(group="ask")
    async def action_chat(self) -> None:
        """Talk to it; where it has several models, to one that is chosen."""
        from tui.widgets.dialogs import Choose

        item = self.chosen()
        if item is None:
            return
        here = item.deployment
        models = [model for model in here.models if model.chat]
        name: str | None = models[0].name
        if len(models) > 1:
            options = [(model.name, model.name, _kind(model.kind, model.run)) for model in models]
            name = await self.app.push_screen_wait(Choose(f"Talk to which model of {here.name}?", options))
        if name is not None:
            self.finetui.chat_with(f"deployment:{here.name}/{name}")

    def action_copy(self) -> None:
        if (item := self.chosen()) is not None:
            self.finetui.copy(item.deployment.url)

    @work(group="ask")
    async def action_write(self) -> None:
        from tui.deployment_watch import write_requests
        from tui.saving import ask_new_file

        item = self.chosen()
        if item is None:
            return
        here = item.deployment
        target = await ask_new_file(
            self.app, "Write the request log to a file, JSON a line", f"{here.name}.requests.jsonl"
        )
        if target is not None:
            number = await self.attempt(write_requests, here.directory, target[0])
            if number is not None:
                self.notify(f"written: {target[0]}, {count(number)} request{'' if number == 1 else 's'}")

    def action_follow(self) -> None:
        if (pane := self.pane()) is not None:
            pane.action_move_last()


def _runs() -> list[RunRow]:
    from core.runs import supervisor

    return supervisor.list_runs()


def _kind(kind: str, run: str) -> str:
    return f"the base of {one_line(run)}" if kind == "base" else f"tuned, from {one_line(run)}"


def _failed(here: Deployment) -> FinetuiError:
    return FinetuiError(f"{here.name} failed.", here.reason, here.next_step)
