"""The classifiers, clusterings and measures that protocols apply to frozen features.

Most are pure functions of tensors; `fine_tune` is the exception, since it sends images through an encoder. They run
on the device of the training features, which may be float16 or float32 and memory-mapped. Features are read in
chunks, so the extra memory does not grow with the number of images.
"""

from .agreement import clustering_agreement
from .clusters import Clusters, assign_clusters, k_means
from .finetune import Classifier, fine_tune, predict_classes
from .geometry import alignment, false_negative_shares, uniformity
from .label_subset import label_subset, subset_digest
from .linear import ProbeResult, linear_probe
from .logistic import LogisticModels, logistic_regression
from .mlp import mlp_probe
from .neighbours import knn_predictions, nearest_neighbours
from .ridge import ridge_regression

__all__ = [
    "Classifier",
    "Clusters",
    "LogisticModels",
    "ProbeResult",
    "alignment",
    "assign_clusters",
    "clustering_agreement",
    "false_negative_shares",
    "fine_tune",
    "k_means",
    "knn_predictions",
    "label_subset",
    "linear_probe",
    "logistic_regression",
    "mlp_probe",
    "nearest_neighbours",
    "predict_classes",
    "ridge_regression",
    "subset_digest",
    "uniformity",
]
