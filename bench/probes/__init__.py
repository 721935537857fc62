"""The solvers behind the protocols: logistic regression, MLP, ridge, nearest neighbours, k-means;
and how clusters and features lie to the classes.

Pure functions on tensors, ``taught`` aside, which shows images to an encoder. They run on the device of the training
features, which may be float16 or float32 and memory-mapped: rows are read in chunks, so the memory needed beyond the
features stays bounded.
"""

from bench.probes.agreement import agreement
from bench.probes.clusters import Clusters, assigned, k_means
from bench.probes.geometry import alignment, false_negatives, uniformity
from bench.probes.linear import STRENGTHS, Probe, linear_probe
from bench.probes.logistic import Logistic, logistic_regression
from bench.probes.mlp import mlp_probe
from bench.probes.neighbours import knn, nearest
from bench.probes.ridge import ridge
from bench.probes.tuning import Classifier, answers, taught

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
    "linear_probe",
    "logistic_regression",
    "mlp_probe",
    "nearest",
    "ridge",
    "taught",
    "uniformity",
]
