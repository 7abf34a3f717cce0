"""Bodies held against the ARM types of the machine learning service, where those are at hand.

The types are not part of this repository: `FINETUI_ARM_TYPES` names a folder with `arm_schema.py` and `types/`,
by default `../shared/azure` beside the checkout. Without it nothing is checked and `checking` is False.
"""

from __future__ import annotations

import importlib.util
import os
import re
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from tests.azure_emulator.wire import Answer, Call

BESIDE = Path(__file__).parents[3] / "shared" / "azure"
SERVICE = "Microsoft.MachineLearningServices"
PATH = re.compile(
    rf"^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{re.escape(SERVICE)}/(workspaces/.+)$",
    re.IGNORECASE,
)
CHECKED = (
    "workspaces",
    "workspaces/jobs",
    "workspaces/serverlessEndpoints",
    "workspaces/marketplaceSubscriptions",
    "workspaces/datastores",
    "workspaces/data",
    "workspaces/data/versions",
    "workspaces/models",
    "workspaces/models/versions",
    "workspaces/connections",
)
_made: dict[tuple[str, str, str], Any] = {}
_making = threading.Lock()


class Schemas:
    """Checks requests and answers; what does not fit goes to `errors` as a line of text."""

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors
        self._folder = Path(os.environ.get("FINETUI_ARM_TYPES", BESIDE))
        self.checking = (self._folder / "arm_schema.py").is_file() and (self._folder / "types").is_dir()
        self.checked: dict[str, int] = {}
        self._converter: ModuleType | None = None
        self._versions = sorted(path.stem for path in (self._folder / "types").glob("20*.json"))

    def check_request(self, call: Call) -> None:
        if call.method == "PUT":
            self._check(call, call.body, "request", self._resource(call.path))

    def check_response(self, call: Call, answer: Answer) -> None:
        if (
            call.method not in ("GET", "PUT")
            or answer.status not in (200, 201)
            or not isinstance(answer.body, dict)
        ):
            return
        resource = self._resource(call.path)
        if resource:
            self._check(call, answer.body, "response", resource)
        elif resource := self._resource(call.path + "/x"):
            for one in answer.body.get("value", []):
                self._check(call, one, "response", resource)

    def _resource(self, path: str) -> str | None:
        found = PATH.match(path)
        parts = found.group(1).strip("/").split("/") if found else []
        name = "/".join(parts[::2])
        exact = next((one for one in CHECKED if one.lower() == name.lower()), None)
        return exact if parts and len(parts) % 2 == 0 else None

    def _check(self, call: Call, body: dict[str, Any], mode: str, resource: str | None) -> None:
        if not self.checking or not resource:
            return
        version = self._version(call.version)
        validator = self._validator(version, resource, mode)
        if validator is None:
            return
        kind = f"{mode} {resource}"
        self.checked[kind] = self.checked.get(kind, 0) + 1
        for error in validator.iter_errors(body):
            for leaf in _innermost(error):
                place = "/".join(str(part) for part in leaf.absolute_path)
                self._errors.append(
                    f"{kind} {call.method} {call.path} ({call.version}, types of {version}): {place}: "
                    f"{leaf.message[:400]}"
                )

    def _version(self, asked: str) -> str:
        """The types of a version, of the next newer one where it has none."""
        return next((one for one in self._versions if one >= asked), self._versions[-1])

    def _validator(self, version: str, resource: str, mode: str) -> Any:
        with _making:
            key = (version, resource, mode)
            if key not in _made:
                _made[key] = self._make(*key)
            return _made[key]

    def _make(self, version: str, resource: str, mode: str) -> Any:
        if self._converter is None:
            spec = importlib.util.spec_from_file_location("arm_schema", self._folder / "arm_schema.py")
            assert spec and spec.loader
            self._converter = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self._converter)
        try:
            made = self._converter.schema(
                str(self._folder / "types" / f"{version}.json"), f"{SERVICE}/{resource}@{version}", mode
            )
        except StopIteration:
            return None
        return jsonschema.Draft202012Validator(made)


def _innermost(error: Any) -> list[Any]:
    """What is wrong inside the alternative that was meant: not another kind's (`const`), not null."""
    alternatives: dict[Any, list[Any]] = {}
    for one in error.context:
        alternatives.setdefault(one.schema_path[0], []).extend(_innermost(one))
    meant = [
        leaves
        for leaves in alternatives.values()
        if not any(leaf.validator == "const" or leaf.validator_value == "null" for leaf in leaves)
    ]
    return min(meant, key=len) if meant else [error]
