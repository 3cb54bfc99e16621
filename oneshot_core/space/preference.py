"""The choices that probabilities of single candidates prefer, and how far these are ahead."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from .spec import Choice, ParameterSpec


def most_probable(spec: ParameterSpec, shares: Tensor, k: int) -> list[tuple[Choice, float]]:
    """Return the ``k`` most probable choices and their log-probabilities, best first.

    Args:
        spec: a choice between candidates, which are treated as independent.
        shares: how probable each candidate is to be taken; shape ``(n_candidates,)``.
        k: how many; fewer are returned if there are no more.
    """
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
    """Return how probable ``choice`` is, and what else could most easily be; see ``Decision.lead``.

    Args:
        spec: a choice between candidates.
        shares: how probable each candidate is to be taken; shape ``(n_candidates,)``.
        choice: one of the choices of ``spec``.
    """
    p = dict(zip(spec.candidates, shares.tolist(), strict=True))
    members = set(spec.members(choice))
    if spec.n_chosen is None:
        done = min(share if c in members else 1 - share for c, share in p.items())
        return done, 1 - done
    left = [share for c, share in p.items() if c not in members]
    return min(p[c] for c in members), max(left, default=0.0)


def entropy_of(spec: ParameterSpec, shares: Tensor) -> float:
    """Return how undecided a choice between candidates is, from 0 to 1; see ``Decision.entropy``.

    Args:
        spec: a choice between two or more candidates.
        shares: how probable each candidate is to be taken; shape ``(n_candidates,)``.
    """
    if spec.n_chosen is None:
        each = -(torch.xlogy(shares, shares) + torch.xlogy(1 - shares, 1 - shares)) / math.log(2)
        return float(each.mean())
    p = shares / shares.sum()
    return float(-torch.xlogy(p, p).sum()) / math.log(len(p))
