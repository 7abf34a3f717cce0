"""Asking Azure for as long as it takes: networks that come back, sign-ins that run out, requests of the user's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from core.azure.clients import Azure
from core.azure.faults import SIGN_IN_NEEDED, AzureError
from core.azure.record import read
from core.events import SignInNeeded, Status, Warned
from core.work import Run

T = TypeVar("T")
LOOK_S = 0.5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
NO_PAUSE = "A job in Azure can't be paused: it trains on."
AGAIN = "Asking again until it works; what runs in Azure goes on."
STOP_INSTEAD = "`finetui stop` cancels it."


class Left(Exception):  # noqa: N818 - a signal, not an error
    """The process was told from outside to end; the job goes on without it."""


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """A stop was asked for before there was a job to cancel."""


class Patience:
    """A run's dealings with Azure.

    Args:
        azure: the account.
        run: whose journal tells of waiting.

    Attributes:
        stopping: the user has asked to stop.
        job_may_exist: there may be a job that a stop has to cancel; until then a stop ends the run at once.
    """

    def __init__(self, azure: Azure, run: Run) -> None:
        self.azure = azure
        self.run = run
        self.stopping = False
        self.job_may_exist = False

    def insist(self, ask: Callable[[], T]) -> T:
        """The answer to a question, asked again while the trouble is one that passes.

        Raises:
            AzureError: Azure refuses for good.
            Left: the process must end.
            Stopped: a stop was asked for, and `job_may_exist` is not set.
        """
        wait_s, told, renewed = FIRST_WAIT_S, False, False
        while True:
            try:
                answer = ask()
            except AzureError as error:
                if error.code == SIGN_IN_NEEDED:
                    self.sign_in()
                elif (
                    error.status == 401 and not renewed
                ):  # refused although it is not over, e.g. for a wrong clock
                    renewed = True
                    self.azure.renew()
                elif self._may_pass(error):
                    if not told:
                        told = True
                        next_step = AGAIN if error.transient else f"{error.next_step} {AGAIN}"
                        self.run.emit(Warned(text=f"{error.what} {error.cause}", next_step=next_step))
                    self.wait(wait_s)
                    wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                    self.azure.forget()
                else:
                    raise
            else:
                if told:
                    self.run.emit(Status(text="Azure answers again"))
                return answer

    def _may_pass(self, error: AzureError) -> bool:
        """An hour without a network looks like a failed sign-in too; a job that may exist is worth waiting for, all
        the more one that is to be cancelled: until then it is paid for."""
        lost = error.code in ("credential_unavailable", "sign_in_failed")
        return error.transient or (lost and self.job_may_exist)

    def wait(self, seconds: float) -> None:
        """Wait, but see requests.

        Raises:
            Left, Stopped: as `look`.
        """
        end = time.monotonic() + seconds
        while True:
            was = self.stopping
            self.look()
            left = end - time.monotonic()
            if left <= 0 or self.stopping != was:
                return
            time.sleep(min(LOOK_S, left))

    def look(self) -> None:
        """Take what has been asked of the run.

        Raises:
            Left: the system wants the process to end.
            Stopped: the user wants the run to end, and there is no job.
        """
        for request in self.run.requests():
            if request.verb == "stop" and request.arguments.get("by") == "signal":
                raise Left
            if request.verb == "stop":
                self.stopping = True
            else:
                what = NO_PAUSE if request.verb == "pause" else f"A job in Azure has no `{request.verb}`."
                self.run.emit(Warned(text=what, next_step=STOP_INSTEAD if request.verb == "pause" else ""))
        if self.stopping and not self.job_may_exist:
            raise Stopped

    def sign_in(self) -> None:
        """Show a code until somebody has signed in with it; each code lives for a quarter of an hour.

        Raises:
            AzureError: Azure refuses the sign-in; or a stop was asked for, and nobody can cancel the job.
            Left, Stopped: as `look`.
        """
        while True:
            failed: list[AzureError] = []
            asking = threading.Thread(target=self._ask, args=(failed,), name="sign-in", daemon=True)
            asking.start()
            while asking.is_alive():
                self.wait(LOOK_S)
                if self.stopping:
                    known = read(self.run.directory)
                    raise AzureError(
                        "The job can't be cancelled: nobody is signed in.",
                        "It goes on in Azure, and is paid for.",
                        f"`finetui azure cancel {known.job if known else 'JOB'}` signs in and cancels it.",
                        code=SIGN_IN_NEEDED,
                    )
            if not failed:
                self.run.emit(Status(text="signed in"))
                return
            if failed[0].transient:
                self.wait(FIRST_WAIT_S)
            elif not _ran_out(failed[0]):
                raise failed[0]

    def _ask(self, failed: list[AzureError]) -> None:
        try:
            self.azure.sign_in()
        except AzureError as error:
            failed.append(error)


def _ran_out(error: AzureError) -> bool:
    """Whether nobody typed the code in time."""
    return any(
        words in error.cause
        for words in ("Timed out waiting", "expired_token", "AADSTS70020", "code_expired")
    )


def told_by(run: Run) -> Callable[[str, str], None]:
    """What shows a device code: the run's journal."""
    return lambda address, code: run.emit(SignInNeeded(url=address, code=code))
