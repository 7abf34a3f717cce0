"""Where a recipe can be trained: one protocol, found by name."""

from __future__ import annotations

from core.backends.base import Backend, BackendError


def get(name: str) -> Backend:
    """The backend of a name.

    Raises:
        BackendError: there is none that works here.
    """
    if name == "local":
        from core.backends.local import LocalBackend

        return LocalBackend()
    raise BackendError(
        f"The backend `{name}` is not set up yet.",
        "This version trains on this machine only.",
        "Set `backend: local`, or leave it out.",
    )
