"""Whether a chat template does nothing with contents but write them down, as they are or trimmed.

Of such a template one rendering tells all others with the same roles: texts can be put together without running it.
That is decided from its syntax tree, and whatever is not surely harmless counts as not transparent.
"""

from __future__ import annotations

from typing import Literal

from jinja2 import Environment, nodes

Kind = Literal["plain", "content", "container"]
"""`content` holds the text of a message, `container` messages or one of them, `plain` neither."""

_REFUSED = (
    nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Include, nodes.Import, nodes.FromImport, nodes.Block,
    nodes.Extends, nodes.AssignBlock,
)  # fmt: skip
_NEIGHBOURS = frozenset({"previtem", "nextitem"})


class _OpaqueError(Exception):
    """The template may do more with contents."""


def is_transparent(environment: Environment, source: str) -> bool:
    """Whether the text of a conversation depends on its contents only by containing them, trimmed or not, and on
    which of them are empty.

    Args:
        environment: the one that compiles the template.
        source: the template, which compiles.
    """
    tree = environment.parse(source)
    if any(True for _ in tree.find_all(_REFUSED)):
        return False
    look = _Look()
    try:
        known: dict[str, Kind] | None = None
        while known != look.names:  # a name may be used in a loop before it is set further down
            known = dict(look.names)
            for node in tree.body:
                look.statement(node)
    except _OpaqueError:
        return False
    return True


class _Look:
    """What each name may hold, as far as the template was read."""

    def __init__(self) -> None:
        self.names: dict[str, Kind] = {"messages": "container"}

    def statement(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                if self.kind(part) == "container":
                    raise _OpaqueError
        elif isinstance(node, nodes.If):
            self._test(node.test)
            for inner in (*node.body, *node.elif_, *node.else_):
                self.statement(inner)
        elif isinstance(node, nodes.For):
            self._for(node)
        elif isinstance(node, nodes.Assign):
            self._assign(node.target, self.kind(node.node))
        elif isinstance(node, nodes.ExprStmt):
            self._plain(node.node)
        elif not isinstance(node, nodes.TemplateData):
            raise _OpaqueError

    def _for(self, node: nodes.For) -> None:
        if node.test is not None or node.recursive:
            raise _OpaqueError
        self._assign(node.target, self.kind(node.iter))
        for inner in (*node.body, *node.else_):
            self.statement(inner)

    def _assign(self, target: nodes.Node, kind: Kind) -> None:
        if isinstance(target, nodes.Name):
            before = self.names.get(target.name, kind)
            if "plain" not in (before, kind) and before != kind:
                raise _OpaqueError
            self.names[target.name] = before if kind == "plain" else kind
        elif kind != "plain":  # attributes of a namespace, several names at once
            raise _OpaqueError

    def _test(self, node: nodes.Node) -> None:
        """A condition: on no content, but whether one is empty, or there is a message."""
        if isinstance(node, nodes.Not):
            self._test(node.node)
        elif isinstance(node, nodes.And | nodes.Or):
            self._test(node.left)
            self._test(node.right)
        elif self.kind(node) == "content" and not isinstance(node, nodes.Getattr | nodes.Getitem):
            raise _OpaqueError

    def _plain(self, node: nodes.Node) -> None:
        if self.kind(node) != "plain":
            raise _OpaqueError

    def kind(self, node: nodes.Node) -> Kind:
        """What an expression may hold.

        Raises:
            _OpaqueError: it does more with contents than to write them.
        """
        if isinstance(node, nodes.Name):
            return self.names.get(node.name, "plain")
        if isinstance(node, nodes.Getattr):
            return self._member(node.node, node.attr)
        if isinstance(node, nodes.Getitem):
            return self._item(node)
        if isinstance(node, nodes.Add | nodes.Concat):
            return self._joined(node)
        if isinstance(node, nodes.Filter) and node.node is not None:
            return self._filtered(node)
        if isinstance(node, nodes.Compare):
            self._compared(node)
            return "plain"
        if isinstance(node, nodes.CondExpr):
            return self._either(node)
        for inner in node.iter_child_nodes():
            self._plain(inner)
        return "plain"

    def _member(self, base: nodes.Node, name: str) -> Kind:
        kind = self.kind(base)
        if kind == "content":
            raise _OpaqueError
        if kind == "container":
            if hasattr(dict, name) or hasattr(list, name):  # `message.get(...)`: methods give contents away
                raise _OpaqueError
            return "content" if name == "content" else "plain"
        return "container" if name in _NEIGHBOURS else "plain"

    def _item(self, node: nodes.Getitem) -> Kind:
        argument = node.arg
        if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
            return self._member(node.node, argument.value)
        self._plain(argument)
        kind = self.kind(node.node)
        if kind == "content":
            raise _OpaqueError
        return kind

    def _joined(self, node: nodes.Add | nodes.Concat) -> Kind:
        parts = node.nodes if isinstance(node, nodes.Concat) else [node.left, node.right]
        kinds = {self.kind(part) for part in parts}
        if "container" in kinds:
            raise _OpaqueError
        return "content" if "content" in kinds else "plain"

    def _filtered(self, node: nodes.Filter) -> Kind:
        assert node.node is not None
        kind = self.kind(node.node)
        for argument in (*node.args, *node.kwargs, *filter(None, (node.dyn_args, node.dyn_kwargs))):
            self._plain(argument)
        if kind == "content" and node.name == "trim" and not (node.args or node.kwargs):
            return self._trimmed(node.node)
        if kind == "container" and node.name in ("length", "count"):
            return "plain"
        if kind != "plain":
            raise _OpaqueError
        return "plain"

    def _trimmed(self, node: nodes.Node) -> Kind:
        """Only a content itself may be trimmed: of a longer text the content's edges may not be the edges."""
        if not isinstance(node, nodes.Getattr | nodes.Getitem):
            raise _OpaqueError
        return "content"

    def _compared(self, node: nodes.Compare) -> None:
        """`'tools' in message` asks for a key; nothing else may be compared with what holds contents."""
        self._plain(node.expr)
        for operand in node.ops:
            whole = operand.op in ("in", "notin") and isinstance(operand.expr, nodes.Name)
            if not (whole and self.kind(operand.expr) == "container"):
                self._plain(operand.expr)

    def _either(self, node: nodes.CondExpr) -> Kind:
        self._test(node.test)
        kinds = {self.kind(part) for part in (node.expr1, node.expr2) if part is not None}
        if "container" in kinds:
            raise _OpaqueError
        return "content" if "content" in kinds else "plain"
