"""What a family of models says about its sizes: the target of a component of the kind ``adapter``.

The tracer finds by itself which dimensions of which tensors belong together. An adapter says what
no forward pass shows: which size is the hidden size, which numbers a module computed from a size
when it was built, which blocks can be skipped, and how the config of the model calls all that.

    bert = Adapter(
        hidden="embeddings.word_embeddings.weight:1",
        ffn="encoder.layer.*.intermediate.dense.weight:0",
        heads="encoder.layer.*.attention.self.query.weight:0 / attention_head_size",
        follows={"encoder.layer.*.attention.self": {"all_head_size": "query.weight:0"}},
        depth="encoder.layer.*",
        config={"hidden_size": "hidden", "num_hidden_layers": "#encoder.layer.*"},
    )

All paths are relative to the module that the component names in ``handles``; see
:mod:`~oneshot_plugins.pretrained.expression` for the texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, TypeAlias, get_args

from oneshot_core.errors import PluginError

from .expression import Dim, Expression, parse

__all__ = ["ROLES", "Adapter", "Blocks", "Role"]

Role: TypeAlias = Literal["hidden", "ffn", "heads", "kv", "channels"]
"""What a size is for: the hidden size, the width of a feed-forward network, attention heads, groups
of keys and values that several queries share, channels of a convolution."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_PATH = re.compile(r"(?:[\w*]+(?:\.[\w*]+)*)?")
_WHERE = re.compile(r"(?:not )?[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of which each can be skipped: what goes in comes out.

    Args:
        path: of the blocks, such as ``"encoder.layer.*"``; its last part is ``*``.
        give: what a skipped block gives back, as arguments of its ``forward``: the position of
            one, or a tuple of positions for a block that gives back several things.
        keep: positions of blocks that always run, since something else depends on them.
        where: the name of an attribute that is true for blocks that can be skipped, such as
            ``"use_res_connect"``; ``"not downsample"`` where it is None or false.
        index: attributes that hold the position of a block, as paths from the block:
            ``"attention.self.layer_idx"``. The blocks that are left are numbered anew.
        lists: names of lists in the config with an item for each block, such as
            ``"layer_types"``.

    Raises:
        PluginError: an argument has not the form described.
    """

    path: str
    give: int | tuple[int, ...] = 0
    keep: tuple[int, ...] = ()
    where: str = ""
    index: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check("Blocks", "path", self.path, _is_path(self.path) and self.path.endswith("*"), _GLOB)
        given = self.give if isinstance(self.give, tuple) else (self.give,)
        _check(
            "Blocks",
            "give",
            self.give,
            bool(given) and all(type(n) is int and n >= 0 for n in given),
            "the position of an argument of forward, or a tuple of positions",
        )
        _check(
            "Blocks",
            "keep",
            self.keep,
            isinstance(self.keep, tuple) and all(type(n) is int for n in self.keep),
            "a tuple of positions; -1 is the last block",
        )
        for name in ("index", "lists"):
            value = getattr(self, name)
            good = isinstance(value, tuple) and all(map(_is_path, value))
            _check("Blocks", name, value, good, "a tuple of names")
        good = bool(self.index) or not self.lists
        _check("Blocks", "lists", self.lists, good, "index, too: it says which blocks are left")
        good = isinstance(self.where, str) and bool(not self.where or _WHERE.fullmatch(self.where))
        _check("Blocks", "where", self.where, good, "an attribute, or 'not ' and one")


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a family of models says about its sizes; all of it may be left out.

    Args:
        hidden: a dimension of a tensor that is the hidden size, such as
            ``"embeddings.word_embeddings.weight:1"``, or a tuple of dimensions that are to be
            one size.
        ffn: as ``hidden``, the width of each feed-forward network. ``*`` names those of all
            blocks.
        heads: as ``hidden``, the attention heads: the rows of the queries divided by those of
            one head, ``"layers.*.self_attn.q_proj.weight:0 / head_dim"``. Names of numbers are
            looked up in the module of the tensor, and in those that hold it.
        kv: the groups of keys and values that several queries share, written as ``heads``.
        channels: dimensions that are channels of convolutions.
        follows: path of modules -> attribute -> its value: what a module has computed from a
            size when it was built, and uses. Paths and names are relative to the module. Of
            several expressions, the first counts of which the tensors exist. ``"#layers.*"``
            counts modules; such a number is corrected when a network is frozen. A buffer without
            dimensions may follow, too, as the square root by which Gemma multiplies embeddings.
        depth: the blocks that can be skipped, as :class:`Blocks` or a path of them; or a tuple
            of these, one for each stack.
        config: name of a number in the ``config`` of the model -> its value in terms of roles,
            such as ``"hidden"`` or ``"ffn / hidden"``; ``"#layers.*"`` counts modules. A frozen
            network gets a config of its own with these numbers.
        needs: what the config cannot say otherwise, as pairs of expressions over roles and
            numbers of modules, that must be equal.

    Raises:
        PluginError: an argument has not the form described.

    >>> Adapter(ffn="layers.*.linear1.weight:0", depth="layers.*").blocks
    (Blocks(path='layers.*', give=0, keep=(), where='', index=(), lists=()),)
    """

    hidden: Expression | tuple[Expression, ...] = ()
    ffn: Expression | tuple[Expression, ...] = ()
    heads: Expression | tuple[Expression, ...] = ()
    kv: Expression | tuple[Expression, ...] = ()
    channels: Expression | tuple[Expression, ...] = ()
    follows: Mapping[str, Mapping[str, Expression | tuple[Expression, ...]]] = field(
        default_factory=dict
    )
    depth: str | Blocks | tuple[str | Blocks, ...] = ()
    config: Mapping[str, Expression] = field(default_factory=dict)
    needs: tuple[tuple[Expression, Expression], ...] = ()

    def __post_init__(self) -> None:
        for role in ROLES:
            for text in self.seeds(role):
                good = isinstance(text, str) and len(parse(text).dims) == 1
                _check("Adapter", role, text, good, "an expression with one dimension of a tensor")
        self._check_follows()
        _check("Adapter", "depth", self.depth, all(self.blocks), "paths, or Blocks")
        good = isinstance(self.config, Mapping) and all(isinstance(t, str) for t in self.config)
        _check("Adapter", "config", self.config, good, "name -> expression over roles")
        for text in self.config.values():
            _check_expression("config", text)
        for pair in self.needs:
            good = isinstance(pair, tuple) and len(pair) == 2
            _check("Adapter", "needs", pair, good, "a pair of expressions that must be equal")

    def _check_follows(self) -> None:
        table = self.follows
        good = isinstance(table, Mapping) and all(isinstance(t, Mapping) for t in table.values())
        _check("Adapter", "follows", table, good, "path -> attribute -> expression")
        for path, said in table.items():
            _check("Adapter", "follows", path, _is_path(path), _GLOB)
            for attribute, texts in said.items():
                _check("Adapter", "follows", attribute, attribute.isidentifier(), "an attribute")
                for text in texts if isinstance(texts, tuple) else (texts,):
                    _check_expression("follows", text)

    @property
    def blocks(self) -> tuple[Blocks, ...]:
        """The blocks that can be skipped, one item for each stack."""
        several = self.depth if isinstance(self.depth, tuple) else (self.depth,)
        return tuple(each if isinstance(each, Blocks) else Blocks(each) for each in several)

    def seeds(self, role: Role) -> tuple[Expression, ...]:
        """Return the expressions that say where the sizes of a role are."""
        said: Expression | tuple[Expression, ...] = getattr(self, role)
        return said if isinstance(said, tuple) else (said,)

    def dims(self, role: Role) -> Iterator[Dim]:
        """Yield the dimensions that the sizes of a role are read from."""
        for text in self.seeds(role):
            yield from parse(text).dims

    def paths(self) -> Iterator[tuple[str, str]]:
        """Yield (argument, path) for each path of a tensor or module, as it was written."""
        for role in ROLES:
            yield from ((role, dim.tensor) for dim in self.dims(role))
        yield from (("follows", path) for path in self.follows)
        yield from (("depth", stack.path) for stack in self.blocks)
        for text in self.config.values():
            if text.startswith("#"):
                yield "config", text[1:]

    def __repr__(self) -> str:
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return f"Adapter({', '.join(f'{name}={value!r}' for name, value in said.items() if value)})"


_GLOB = "a dotted path such as 'layers.*.mlp', in which * stands for one name"


def _is_path(path: object) -> bool:
    return isinstance(path, str) and _PATH.fullmatch(path) is not None


def _check_expression(argument: str, text: object) -> None:
    _check("Adapter", argument, text, isinstance(text, str), "the text of an expression")
    assert isinstance(text, str)
    if text.startswith("#"):
        _check("Adapter", argument, text, _is_path(text[1:]), "'#' and a path of modules")
    else:
        parse(text)


def _check(of: str, argument: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise PluginError(
            f"{of} got {argument}={value!r}",
            expected=expected,
            fix=f"correct {argument}= where this {of} is made",
        )
