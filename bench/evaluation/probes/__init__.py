"""The solvers behind the protocols: logistic regression, MLP, ridge, nearest neighbours, k-means;
and how clusters and features lie to the classes.

Pure functions on tensors, ``taught`` aside, which shows images to an encoder. They run on the device of the training
features, which may be float16 or float32 and memory-mapped: rows are read in chunks, so the memory needed beyond the
features stays bounded.
"""

from .agreement import agreement
from .clusters import Clusters, assigned, k_means
from .finetune import Classifier, answers, taught
from .geometry import alignment, false_negatives, uniformity
from .label_subset import label_subset, subset_digest
from .linear import STRENGTHS, Probe, linear_probe
from .logistic import Logistic, logistic_regression
from .mlp import mlp_probe
from .neighbours import knn, nearest
from .ridge import ridge

__all__ = [
    "STRENGTHS",
    "Classifier",
    "Clusters",
    "Logistic",
    "Probe",
    "agreement",
    "alignment",
    "answers",
    "assigned",
    "false_negatives",
    "k_means",
    "knn",
    "label_subset",
    "linear_probe",
    "logistic_regression",
    "mlp_probe",
    "nearest",
    "ridge",
    "subset_digest",
    "taught",
    "uniformity",
]
