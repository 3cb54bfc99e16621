"""NAS-Bench-201: one operation on every edge between four tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from oneshot_core import Architecture
from oneshot_core.errors import ArchitectureError, SpaceError
from oneshot_core.space import Diagram, LayerChoice, Link, Node

from .graph import GraphWhenFrozen

Operation = Callable[[int, int], nn.Module]
"""Input channels, output channels -> a module that keeps height and width."""


class Zero(GraphWhenFrozen):
    """Give zeros, however many channels are wanted.

    Args:
        channels: of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros as large as ``x``, shape ``(N, channels, H, W)``."""
        return torch.zeros_like(x[:, :1]).repeat(1, self.channels, 1, 1)


def _relu_conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _same_or_projected(inputs: int, outputs: int, layer: nn.Module) -> nn.Module:
    if inputs == outputs:
        return layer
    projection = _relu_conv_bn(inputs, outputs, 1)
    return projection if isinstance(layer, nn.Identity) else nn.Sequential(projection, layer)


OPERATIONS: dict[str, Operation] = {
    "none": lambda inputs, outputs: Zero(outputs),
    "skip_connect": lambda inputs, outputs: _same_or_projected(inputs, outputs, nn.Identity()),
    "nor_conv_1x1": lambda inputs, outputs: _relu_conv_bn(inputs, outputs, 1),
    "nor_conv_3x3": lambda inputs, outputs: _relu_conv_bn(inputs, outputs, 3),
    "avg_pool_3x3": lambda inputs, outputs: _same_or_projected(
        inputs, outputs, nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    ),
}
"""The five operations under the names that the benchmark gives them."""


class NasBench201Cell(GraphWhenFrozen):
    """A cell of tensors, each the sum of one operation on every tensor before it.

    The edge from tensor ``i`` to ``j`` is a :class:`~oneshot_core.LayerChoice` with the label
    ``{label}/{i}_{j}``, so cells with one label decide alike.

    Args:
        inputs: channels of the input.
        outputs: channels of every other tensor.
        operations: name -> factory, called with input and output channels.
        tensors: how many there are, the input included.
        label: see above.

    Raises:
        SpaceError: there are fewer than two tensors.

    Source: Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 2.1;
    ``nni.nas.hub.pytorch.modules.NasBench201Cell``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        operations: Mapping[str, Operation] | None = None,
        *,
        tensors: int = 4,
        label: str = "cell",
    ) -> None:
        super().__init__()
        if tensors < 2:
            raise SpaceError(
                f"NasBench201Cell {label!r} has tensors={tensors}",
                expected="at least 2, the input and one more",
                fix="leave it at 4, as in the benchmark",
            )
        made = OPERATIONS if operations is None else operations
        self.edges = nn.ModuleDict()
        for j in range(1, tensors):
            for i in range(j):
                channels = inputs if i == 0 else outputs
                self.edges[f"{i}_{j}"] = LayerChoice(
                    {name: make(channels, outputs) for name, make in made.items()},
                    label=f"{label}/{i}_{j}",
                )
        self.tensors = tensors
        self.label = label

    def diagram_at(self, path: str) -> Diagram:
        """Return the graph of tensors; operations are on its edges."""
        nodes = [Node("in"), *(Node(str(j)) for j in range(1, self.tensors))]
        pairs = [(i, j) for j in range(1, self.tensors) for i in range(j)]
        return Diagram(self.label, nodes, [Link(i, j, f"{self.label}/{i}_{j}") for i, j in pairs])

    def forward(self, x: Tensor) -> Tensor:
        """Return the last tensor.

        Args:
            x: shape ``(N, inputs, H, W)``.

        Returns:
            Shape ``(N, outputs, H, W)``.
        """
        known = [x]
        for j in range(1, self.tensors):
            total: Tensor = self.edges[f"0_{j}"](known[0])
            for i in range(1, j):
                total = total + self.edges[f"{i}_{j}"](known[i])
            known.append(total)
        return known[-1]


class _Reduction(GraphWhenFrozen):
    """A residual block that halves height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_a = _relu_conv_bn(inputs, outputs, 3, stride=2)
        self.conv_b = _relu_conv_bn(outputs, outputs, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut(x) + self.conv_b(self.conv_a(x))
        return total


class NasBench201(GraphWhenFrozen):
    """The network of NAS-Bench-201: a stem, three stages of equal cells, a classifier.

    15,625 architectures with the five operations. Channels double from stage to stage.

    Verified against the benchmark (CIFAR-10): 73,306 parameters and 7.783 M multiply-accumulates
    with ``none`` everywhere, 1,531,546 and 220.12 M with ``nor_conv_3x3`` everywhere, the smallest
    and largest that it lists; its FLOPs count the classifier's bias too, 10 more than ours.

    Args:
        width: channels of the first stage.
        cells: of each stage.
        classes: of the classifier.
        stages: how many there are.
        operations: as of :class:`NasBench201Cell`.
        label: as of :class:`NasBench201Cell`.

    Source: Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 2.1.
    """

    def __init__(
        self,
        width: int = 16,
        cells: int = 5,
        classes: int = 10,
        *,
        stages: int = 3,
        operations: Mapping[str, Operation] | None = None,
        label: str = "cell",
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        layers: list[nn.Module] = []
        for stage in range(stages):
            if stage:
                layers.append(_Reduction(width, 2 * width))
                width *= 2
            layers += [NasBench201Cell(width, width, operations, label=label) for _ in range(cells)]
        self.cells = nn.Sequential(*layers)
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: shape ``(N, 3, H, W)``, 32 x 32 in the benchmark.

        Returns:
            Logits, shape ``(N, classes)``.
        """
        features: Tensor = self.last(self.cells(self.stem(x)))
        return self.classifier(features.flatten(1))  # type: ignore[no-any-return]


def read_arch(text: str, *, label: str = "cell") -> Architecture:
    """Return the architecture that NAS-Bench-201 writes as ``"|nor_conv_3x3~0|+|none~0|...|"``.

    Args:
        text: for each tensor after the input, the operations on those before it.
        label: of the cells.

    Raises:
        ArchitectureError: ``text`` is not of that form.
    """
    choices: dict[str, object] = {}
    for j, node in enumerate(text.strip().split("+"), start=1):
        edges = re.fullmatch(r"\|((?:[^|~+]+~\d+\|)+)", node)
        found = re.findall(r"([^|~+]+)~(\d+)\|", edges.group(1)) if edges else []
        if [int(i) for _, i in found] != list(range(j)):
            raise ArchitectureError(
                f"{text!r} is no cell of NAS-Bench-201: {node!r} is tensor {j}",
                expected=f"{'|' + ''.join(f'operation~{i}|' for i in range(j))}",
                fix="write one operation for every tensor before, and '+' between tensors",
            )
        choices |= {f"{label}/{i}_{j}": name for name, i in found}
    return Architecture(choices)


def write_arch(architecture: Mapping[str, object], *, label: str = "cell") -> str:
    """Return an architecture as NAS-Bench-201 writes it; the inverse of :func:`read_arch`.

    Raises:
        ArchitectureError: it does not decide all edges of a cell with that label.
    """
    edges = {
        (int(i), int(j)): name
        for key, name in architecture.items()
        for i, j in re.findall(rf"^{re.escape(label)}/(\d+)_(\d+)$", key)
    }
    last = max((j for _, j in edges), default=1)
    wanted = [[(i, j) for i in range(j)] for j in range(1, last + 1)]
    missing = [f"{label}/{i}_{j}" for node in wanted for i, j in node if (i, j) not in edges]
    if missing:
        raise ArchitectureError(
            f"the architecture does not decide {', '.join(missing)}",
            expected=f"an operation on every edge of the cell {label!r}",
            fix="give the label of the cell, or decide all edges",
        )
    return "+".join("|" + "".join(f"{edges[edge]}~{edge[0]}|" for edge in node) for node in wanted)
