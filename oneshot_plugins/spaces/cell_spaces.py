"""The cell spaces of the literature, as networks of :mod:`.cell_network`."""

from __future__ import annotations

from .cell_network import CellNetwork


class Darts(CellNetwork):
    """Four nodes, each the sum of two operations on different states; all nodes are returned.

    ``"none"``, which the paper weights and never takes, is left out; ask for it in
    ``operations``. To search as the paper does: ``affine=False, pool_norm=True``; as PC-DARTS does:
    ``partial_channels=4``, too.

    Parameters of published cells, without the auxiliary classifier, as tested: DARTS_V2 on CIFAR-10
    (width 36, 20 cells) 3,349,342, published 3.3 million; on ImageNet (48, 14) 4,718,752, published
    4.7; PC-DARTS (36, 20) 3,634,678, published 3.6; P-DARTS (36, 20) 3,433,798, published 3.4.
    Not matched: DARTS_V1 (36, 20) has 3,169,414, and the paper's table says 3.3.

    Source: Liu et al., "DARTS", arXiv:1806.09055, section 3.1.
    """

    candidates = (
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    )
    nodes = 4
    inputs = "distinct"
    merge = "all"


class Enas(CellNetwork):
    """Five nodes of two operations each, the micro search space of ENAS.

    The cells of the released script (width 36, 15 + 2 cells) have 3,729,430 parameters here. The
    paper says 4.6 million, and neither the width nor the number of cells it belongs to.

    Source: Pham et al., "Efficient Neural Architecture Search", arXiv:1802.03268, section 2.4.
    """

    candidates = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
    nodes = 5


class NasNet(CellNetwork):
    """Five nodes of two of thirteen operations.

    NASNet-A on CIFAR-10 (width 32, 20 cells, "6 @ 768") has 3,061,738 parameters, published 3.3
    million. Not matched: the 768 are six times 128, for its normal cells return one of their inputs
    beside the five nodes, and cells here return nodes only. On ImageNet (44, 14, "4 @ 1056") it has
    4,774,846, published 5.3; its stem, two reduction cells, is another one, too.

    Source: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition",
    arXiv:1707.07012, section 3.
    """

    candidates = (
        "skip_connect",
        "conv_3x1_1x3",
        "conv_7x1_1x7",
        "dil_conv_3x3",
        "avg_pool_3x3",
        "max_pool_3x3",
        "max_pool_5x5",
        "max_pool_7x7",
        "conv_1x1",
        "conv_3x3",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
    )
    nodes = 5


class AmoebaNet(CellNetwork):
    """Five nodes of two of eight operations, the space that AmoebaNet was evolved in.

    AmoebaNet-A on CIFAR-10 (width 36, 20 cells) has 3,145,078 parameters, published 3.2 million;
    on ImageNet (50, 14) it has 4,985,475, published 5.1. Close, but not matched: the stem is
    that of DARTS.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search",
    arXiv:1802.01548, section 3.1.
    """

    candidates = (
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
        "avg_pool_3x3",
        "max_pool_3x3",
        "dil_sep_conv_3x3",
        "conv_7x1_1x7",
    )
    nodes = 5


class Pnas(CellNetwork):
    """Five nodes of two of eight operations, all returned; one architecture for all cells.

    Reduction cells are the same cells with stride 2. PNASNet-5 (width 48, 9 cells: three stages of
    three, the later two beginning with a reduction) has 3,176,602 parameters, published 3.2
    million.

    Source: Liu et al., "Progressive Neural Architecture Search", arXiv:1712.00559, section 3.
    """

    candidates = (
        "sep_conv_3x3",
        "sep_conv_5x5",
        "sep_conv_7x7",
        "conv_7x1_1x7",
        "skip_connect",
        "avg_pool_3x3",
        "max_pool_3x3",
        "dil_conv_3x3",
    )
    nodes = 5
    merge = "all"
    labels = ("cell", "cell")
