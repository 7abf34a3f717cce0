"""The shape of every error a user may see: what happened, why, and what to do next."""

from __future__ import annotations


class FinetuiError(Exception):
    """A user-facing error in three parts.

    Args:
        what: what went wrong, naming the place (file and line, run, key).
        cause: why, in one sentence; empty when `what` says it all.
        next_step: what the user can do now; empty only when nothing can be done.
    """

    exit_code = 2

    def __init__(self, what: str, cause: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return "\n".join(
            line
            for line in (
                self.what,
                f"Cause: {self.cause}" if self.cause else "",
                f"Next: {self.next_step}" if self.next_step else "",
            )
            if line
        )

    def as_dict(self) -> dict[str, str]:
        """The three parts by name, for JSON."""
        return {"what": self.what, "cause": self.cause, "next_step": self.next_step}
