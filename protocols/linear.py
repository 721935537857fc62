"""Linear probe: how well does a classifier on one frozen layer read the classes?

Zhang, Isola and Efros 2016 (section 3.2) and the lecture's Conv4/Conv5 table: each tap's maps are
pooled to a fixed number of values, standardised with train statistics, and given to a classifier
that is the only thing to learn.

``head = linear`` is multinomial logistic regression whose regularisation is chosen on a held-out,
stratified part of train and refitted on all of it. ``head = mlp`` is the three-layer classifier
with batch norm of Gidaris et al. 2018 (section 4.1), which the lecture's table used. Both are taught
from features taken once; ``solver = sgd`` is the papers' long way, views through the encoder again and
again at a rate that falls in steps, for whoever must match a paper to the letter.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._probing import Probing


@dataclass(frozen=True, kw_only=True)
class Linear(Probing):
    """Accuracy of a classifier on each frozen tap."""
