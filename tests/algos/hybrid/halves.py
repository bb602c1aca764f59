"""Minibatches of two sources, for the references of the hybrid algorithms."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tests.algos.acting import Episodes
from tests.algos.helpers import Columns


def halves(episodes: Episodes, draws: Iterator[Columns]) -> Columns:
    """Eight rows of the dataset, then eight of replay."""
    pairs = zip(next(draws), episodes.minibatch(8), strict=False)
    return Columns(*(torch.cat(pair) for pair in pairs))
