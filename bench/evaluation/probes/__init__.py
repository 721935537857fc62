"""The classifiers, clusterings and measures that protocols apply to frozen features.

Most are pure functions of tensors; `fine_tune` is the exception, since it sends images through an encoder. They run
on the device of the training features, which may be float16 or float32 and memory-mapped. Features are read in
chunks, so the extra memory does not grow with the number of images.
"""

from .agreement import clustering_agreement
from .attentive import attentive_probe
from .clusters import Clusters, assign_clusters, k_means
from .contours import contour_accuracy, region_similarity
from .dense import iter_enlarged, labels_of_positions, means_of_positions, position_rows, rows_of_other_pictures
from .feature_table import check_features
from .finetune import Classifier, fine_tune, predict_classes
from .geometry import alignment, false_negative_shares, uniformity
from .label_subset import label_subset, subset_digest
from .linear import ProbeResult, linear_probe
from .logistic import LogisticModels, logistic_regression
from .mlp import mlp_probe
from .neighbours import knn_predictions, knn_votes, nearest_neighbours
from .ridge import RidgeModel, ridge_probe, ridge_regression
from .scores import (
    average_precision,
    effective_rank,
    linear_cka,
    mean_overlap,
    overlap_counts,
    spectrum_decay,
)

__all__ = [
    "Classifier",
    "Clusters",
    "LogisticModels",
    "ProbeResult",
    "RidgeModel",
    "alignment",
    "assign_clusters",
    "attentive_probe",
    "average_precision",
    "check_features",
    "clustering_agreement",
    "contour_accuracy",
    "effective_rank",
    "false_negative_shares",
    "fine_tune",
    "iter_enlarged",
    "k_means",
    "knn_predictions",
    "knn_votes",
    "label_subset",
    "labels_of_positions",
    "linear_cka",
    "linear_probe",
    "logistic_regression",
    "mean_overlap",
    "means_of_positions",
    "mlp_probe",
    "nearest_neighbours",
    "overlap_counts",
    "position_rows",
    "predict_classes",
    "region_similarity",
    "ridge_probe",
    "ridge_regression",
    "rows_of_other_pictures",
    "spectrum_decay",
    "subset_digest",
    "uniformity",
]
