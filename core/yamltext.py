"""YAML as a recipe needs it: plain values only, every key once, `2e-4` a number and `on` a word.

The safe loader of PyYAML follows YAML 1.1: it keeps the last of two equal keys in silence, reads `2e-4` as text,
`no` as false, `010` as eight and a day as a date object. This reader follows the core schema of YAML 1.2 (section
10.3.2), refuses equal keys by line and every tag but those of plain values. `write` quotes by the same rules.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

MAX_CHARACTERS = 1 << 20
MAX_DIGITS = 40

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), tuple("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+"), tuple("-+0123456789")),
    (
        "float",
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        tuple("-+0123456789."),
    ),
)


class _Loader(yaml.SafeLoader):
    """Plain values; see the module."""

    yaml_implicit_resolvers: dict[Any, Any] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def plain_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = str(self.construct_object(key_node, deep=True))
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error("a key must be one word", key_node)
            if key in found:
                raise _error(f"`{key}` is set a second time (first in line {lines[key]})", key_node)
            lines[key] = key_node.start_mark.line + 1
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def plain_list(self, node: yaml.SequenceNode) -> list[Any]:
        return [self.construct_object(item, deep=True) for item in node.value]

    def plain_scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = str(node.value)
        pattern = next((pattern for name, pattern, _ in _SCALARS if name == kind), None)
        if pattern and not pattern.fullmatch(text):
            raise _error(f"{text[:40]!r} is not what its tag says, {kind}", node)
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                if len(text) > MAX_DIGITS:
                    raise _error(f"a number of {len(text)} digits is too long", node)
                return int(text)
            case "float":
                return float(re.sub(r"\.(?=[iInN])", "", text))
        return text

    def other(self, node: yaml.Node) -> Any:
        raise _error(f"the tag {node.tag!r} is not used in recipes", node)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads, without anchors."""

    yaml_implicit_resolvers: dict[Any, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        """Escaped where it holds what is no letter: PyYAML's other styles turn U+0085 into a space."""
        plain = data.replace("\n", "").isprintable()
        return self.represent_scalar(_TAG + "str", data, style=None if plain else '"')


for _name, _pattern, _first in _SCALARS:
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _name, _whole, list(_first))
    _Dumper.add_implicit_resolver(_TAG + _name, _whole, list(_first))
for _name in ("null", "bool", "int", "float", "str"):
    _Loader.add_constructor(_TAG + _name, _Loader.plain_scalar)
_Loader.add_constructor(_TAG + "map", _Loader.plain_mapping)
_Loader.add_constructor(_TAG + "seq", _Loader.plain_list)
_Loader.add_constructor(None, _Loader.other)
_Dumper.add_representer(str, _Dumper.text)


def _error(text: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, text, node.start_mark)


def read(text: str) -> Any:
    """The value of one YAML document: mappings, lists, text, numbers, true, false and null.

    Raises:
        ValueError: it is no such document; the message names line and column where they are known.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; a recipe has at most {MAX_CHARACTERS}")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - makes plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context or 'it is not YAML'}") from error
    except yaml.reader.ReaderError as error:
        raise ValueError(f"character {error.position + 1}: {error.reason}") from error
    except RecursionError:
        raise ValueError("it is nested too deep, or holds itself") from None


def write(content: dict[str, Any]) -> str:
    """Plain values as YAML text that `read` gives back, keys in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
