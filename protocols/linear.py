"""Linear probe: how well does a classifier on one frozen layer tell the classes apart?

Zhang, Isola and Efros 2016 (section 3.2) and the lecture's table of Conv4 and Conv5: the feature maps of each tap are
pooled to a fixed number of values, standardised with the statistics of train, and given to a classifier, which is the
only thing that is trained.

``head = linear`` is multinomial logistic regression. Its regularisation is chosen on a held-out, stratified part of
train; then it is fitted to all of train. ``head = mlp`` is the three-layer classifier with batch norm of Gidaris et
al. 2018 (section 4.1), which the lecture's table used. Both read features that are extracted once.

``solver = sgd`` trains the classifier as the papers do: augmented images pass through the encoder in every epoch,
and the learning rate falls in steps. It is much slower, and meant for exact comparisons with a paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._probing import Probing


@dataclass(frozen=True, kw_only=True)
class Linear(Probing):
    """Accuracy of a classifier on each frozen tap."""
