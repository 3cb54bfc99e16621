"""The choices that probabilities of single candidates prefer, and how far these are ahead.

``shares`` says for each candidate how probable it is to be taken; its shape is ``(n_candidates,)``.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from .spec import Choice, ParameterSpec


def most_probable(spec: ParameterSpec, shares: Tensor, k: int) -> list[tuple[Choice, float]]:
    """Return the ``k`` best choices and their log-probabilities; see ``Decision.top_k``."""
    scores = shares.log().tolist()
    if spec.n_chosen is None:
        left = (1 - shares).clamp_min(0).log().tolist()
        position = {candidate: i for i, candidate in enumerate(spec.candidates)}

        def score(choice: Choice) -> float:
            members = {position[c] for c in spec.members(choice)}
            return math.fsum(scores[i] if i in members else left[i] for i in position.values())

        scored = [(choice, score(choice)) for choice in spec.choices()]
        return sorted(scored, key=lambda pair: -pair[1])[:k]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    n = spec.n_chosen
    # The k best subsets of size n lie within the n + k - 1 best candidates.
    pool = sorted(order[: n + k - 1])
    ranked = sorted(
        # fsum: rounding must not tell equals apart by the order of their terms.
        (-math.fsum(scores[i] for i in subset), subset)
        for subset in combinations(pool, n)
    )
    return [
        (spec.normalise([spec.candidates[i] for i in subset]), -negative)
        for negative, subset in ranked[:k]
    ]


def lead_of(spec: ParameterSpec, shares: Tensor, choice: Choice) -> tuple[float, float]:
    """Return how probable ``choice`` is, and what else could be; see ``Decision.lead``."""
    p = dict(zip(spec.candidates, shares.tolist(), strict=True))
    members = set(spec.members(choice))
    if spec.n_chosen is None:
        done = min(share if c in members else 1 - share for c, share in p.items())
        return done, 1 - done
    left = [share for c, share in p.items() if c not in members]
    return min(p[c] for c in members), max(left, default=0.0)


def entropy_of(spec: ParameterSpec, shares: Tensor) -> float:
    """Return how undecided a choice is, from 0 to 1; see ``Decision.entropy``."""
    if spec.n_chosen is None:
        each = -(torch.xlogy(shares, shares) + torch.xlogy(1 - shares, 1 - shares)) / math.log(2)
        return float(each.mean())
    p = shares / shares.sum()
    return float(-torch.xlogy(p, p).sum()) / math.log(len(p))
