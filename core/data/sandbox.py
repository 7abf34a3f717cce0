"""Where chat templates run: jinja2's immutable sandbox, set up as transformers' `apply_chat_template` does."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.errors import FinetuiError

if TYPE_CHECKING:
    from jinja2 import Environment, Template


class RenderingError(FinetuiError):
    """A conversation can't become tokens: there is no usable template, or it refuses the conversation.

    `code` is that of the problem (core.data.codes).
    """

    def __init__(
        self, what: str, cause: str = "", next_step: str = "", code: str = "template-refuses"
    ) -> None:
        super().__init__(what, cause, next_step)
        self.code = code


def compile_template(source: str, now: datetime) -> Template:
    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = now.strftime
    environment.globals["namespace"] = _namespace_class()
    environment.globals["dict"] = _make_dict
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise RenderingError(
            "The model's chat template is not valid jinja2.",
            f"line {getattr(error, 'lineno', '?')}: {error}",
            "Give a working chat_template in the recipe.",
        ) from error


def free_names(environment: Environment, source: str) -> set[str]:
    """The names that a template takes from outside: `messages`, `tools`, `bos_token`, ..."""
    from jinja2 import meta

    return meta.find_undeclared_variables(environment.parse(source))


def _generation_tag() -> type[Any]:
    """The extension for `{% generation %}...{% endgeneration %}`: the block's text as it is."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension

    class GenerationTag(Extension):
        tags = {"generation"}

        def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_block"), [], [], body).set_lineno(line)

        def _block(self, caller: Any) -> Any:
            return caller()

    return GenerationTag


def _namespace_class() -> type[Any]:
    """jinja2's `namespace` without underscore names: they are a known way out of the sandbox."""
    from jinja2 import exceptions, utils

    class Namespace(utils.Namespace):
        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise exceptions.SecurityError(f"a chat template may not set {name!r} on a namespace")
            super().__setitem__(name, value)

    return Namespace


def _make_dict(*items: Any, **named: Any) -> dict[Any, Any]:
    """`dict(...)` for templates without handing them the class itself."""
    return dict(*items, **named)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The `tojson` filter without jinja2's HTML escapes."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
