"""Where a recipe can be trained: one protocol, found by name."""

from __future__ import annotations

from core.backends.base import Backend, BackendError


def get(name: str) -> Backend:
    """The backend of a name.

    Raises:
        BackendError: there is none.
    """
    if name == "local":
        from core.backends.local import LocalBackend

        return LocalBackend()
    if name == "azure":
        from core.backends.azure import AzureBackend

        return AzureBackend()
    raise BackendError(f"There is no backend `{name}`.", "", "Use local or azure.")
