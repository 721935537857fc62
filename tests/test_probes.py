"""The probes agree with scikit-learn and with slow twins, and refuse what makes no sense."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from sslbench.bench.errors import UserError
from sslbench.bench.evaluation import probes
from sslbench.bench.evaluation.probes import clusters, curvature, linear, logistic, neighbours, rows


def blobs(n: int, d: int, classes: int = 4, *, seed: int = 0, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    """Overlapping classes (n, d) whose features have very different scales and a common offset, and labels (n,)."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=torch.Generator().manual_seed(9)) * apart
    labels = torch.arange(n) % classes
    noise = torch.randn(n, d, generator=generator) @ (torch.randn(d, d, generator=generator) / d**0.5)
    return (centres[labels] + 2 * noise) * torch.logspace(-1, 1, d) + 3, labels


def sklearns(X: Tensor, y: Tensor, C: float) -> tuple[float, LogisticRegression]:
    """scikit-learn's optimum in our units: objective / (C N)."""
    model = LogisticRegression(C=C, tol=1e-10, max_iter=20000, solver="lbfgs").fit(X.double().numpy(), y.numpy())
    p = model.predict_proba(X.double().numpy())[np.arange(len(y)), y.numpy()]
    return float(-np.log(p).mean() + (model.coef_**2).sum() / (2 * C * len(y))), model


@pytest.mark.parametrize("C", [1e-3, 1e-1, 10.0])
def test_logistic_regression_is_as_often_right_as_scikit_learns(C):
    """Of 2,000 new images it tells as many as scikit-learn's optimum does, to a tenth of a point."""
    X, y = blobs(400, 20)
    test, truth = blobs(2000, 20, seed=1)
    mean, std = X.mean(0), X.std(0)
    ours = probes.logistic_regression((X - mean) / std, y, 4, [C], tolerance=1e-9)
    optimum, model = sklearns((X - mean) / std, y, C)
    theirs = model.score(((test - mean) / std).numpy(), truth.numpy())
    assert float((ours.predict((test - mean) / std)[0] == truth).float().mean()) == pytest.approx(theirs, abs=1e-3)
    assert float(ours.objective[0]) == pytest.approx(optimum, abs=1e-4)


@pytest.mark.parametrize(("n", "d", "classes"), [(300, 20, 4), (60, 100, 3), (200, 10, 2)])
def test_logistic_regression_reaches_scikit_learns_optimum(n, d, classes):
    """Objective within 1e-4 at strengths from 1e-4 to 1e4, with more features than images too, and with two classes."""
    X, y = blobs(n, d, classes, apart=0.3)
    X = (X - X.mean(0)) / X.std(0)
    strengths = [1e-4, 1e-2, 1.0, 1e2, 1e4]
    ours = probes.logistic_regression(X, y, classes, strengths, tolerance=1e-9)
    for i, C in enumerate(strengths):
        optimum, model = sklearns(X, y, C)
        assert float(ours.objective[i]) == pytest.approx(optimum, rel=1e-4, abs=1e-7)
        agreement = (ours.predict(X)[i].numpy() == model.predict(X.numpy())).mean()
        assert agreement > 0.99


def test_reported_objective_is_that_of_the_reported_weights():
    """The weights, taken back to the features as given, have the objective they claim."""
    X, y = blobs(200, 12)
    C = torch.tensor([1e-3, 1e-1], dtype=torch.float64)
    fit = probes.logistic_regression(X, y, 4, C)
    for i in range(2):
        loss = torch.nn.functional.cross_entropy(fit.scores(X)[i].double(), y)
        objective = loss + fit.weights[i].double().square().sum() / (2 * C[i] * len(y))
        assert float(objective) == pytest.approx(float(fit.objective[i]), rel=1e-5)


def test_strengths_side_by_side_do_not_disturb_each_other():
    """A strength's result alone and among others is the same optimum."""
    X, y = blobs(200, 12)
    together = probes.logistic_regression(X, y, 4, [1e-4, 1e-2, 1.0]).objective
    alone = torch.cat([probes.logistic_regression(X, y, 4, [c]).objective for c in (1e-4, 1e-2, 1.0)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


def test_sketched_curvature_changes_the_way_and_not_the_goal():
    """With Nyström's approximation in the place of the covariance the optimum is the same."""
    X, y = blobs(150, 40)
    exact = logistic.Regression(rows.Table(X, standardise=True), y, 4)
    sketched = logistic.Regression(rows.Table(X, standardise=True), y, 4)
    sketched.curvature = curvature.Curvature.of(sketched.table, full=10, rank=16)
    C = [1e-3, 1e-1]
    found = [r.solve(C, r.start(C), 1e-7, 1000, "fp32").objective for r in (exact, sketched)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=0)


def test_row_space_gives_back_the_rows():
    """Coordinates times directions are the rows; constant features span nothing and are no trouble."""
    table = rows.Table(blobs(20, 50)[0], standardise=True)
    coordinates, directions, _ = curvature.row_space(table)
    torch.testing.assert_close(coordinates @ directions.T, torch.cat(list(table)), rtol=1e-3, atol=1e-3)
    y = torch.tensor([0, 0, 1])
    assert probes.logistic_regression(torch.ones(3, 5), y, 2, [1.0]).predict(torch.ones(2, 5)).tolist() == [[0, 0]]


def test_full_sketch_is_the_covariance():
    """Nyström's approximation at full rank solves as the eigendecomposition does."""
    X, _ = blobs(150, 30)
    table = rows.Table(X, standardise=True)
    gradient, weight, penalty = torch.randn(2, 3, 30), torch.full((2, 3, 1), 0.3), torch.tensor([[[0.1]], [[1.0]]])
    solved = [curvature.Curvature.of(table, full=f, rank=30).solve(gradient, weight, penalty) for f in (64, 8)]
    torch.testing.assert_close(solved[0], solved[1], rtol=0.05, atol=0.02)


def test_covariance_by_blocks_is_the_covariance():
    """Upper blocks, mirrored, equal X'X."""
    X, _ = blobs(50, 600)
    table = rows.Table(X, standardise=True)
    Z = torch.cat(list(table))
    torch.testing.assert_close(curvature.covariance(table), Z.T @ Z, rtol=1e-3, atol=1e-3)


def test_bf16_first_and_fp32_after_reaches_the_same_optimum():
    """Low precision only does the bulk; the finish decides."""
    X, y = blobs(200, 16)
    low, high = (
        probes.logistic_regression(X, y, 4, [1e-3, 1e-1], tolerance=1e-7, precision=p) for p in ("bf16", "fp32")
    )
    torch.testing.assert_close(low.objective, high.objective, rtol=1e-5, atol=0)


def test_features_read_in_chunks_give_the_same(monkeypatch):
    """Neither the chunk size nor whether a prepared copy fits in memory matters."""
    X, y = blobs(230, 16)
    test, _ = blobs(50, 16, seed=1)
    whole = probes.linear_probe(X, y, test, 4)
    for module in (rows, linear, logistic):
        monkeypatch.setattr(module, "chunk_rows", lambda features: 64)
    monkeypatch.setattr(rows, "COPY_BYTES", 0)
    parts = probes.linear_probe(X, y, test, 4)
    assert parts.strength == whole.strength
    torch.testing.assert_close(parts.scores, whole.scores, rtol=1e-2, atol=1e-2)
    for key, votes in probes.knn(X, y, test, 4, k=(5, 20)).items():
        assert torch.equal(votes, probes.knn(X, y, test, 4, k=(5, 20), chunk=7)[key])


def test_the_held_out_part_is_the_same_whatever_the_features():
    """Two encoders, or two processors that round differently, choose the strength on the same images."""
    X, y = blobs(240, 16)
    test, _ = blobs(100, 16, seed=1)
    nudged = X * (1 + 1e-6 * torch.randn(X.shape, generator=torch.Generator().manual_seed(3)))
    for probe in (probes.linear_probe, partial(probes.mlp_probe, strengths=(1e-3, 1e-1), epochs=2)):
        one, other = probe(X, y, test, 4), probe(nudged, y, test, 4)
        assert torch.equal(one.validation, other.validation)
        assert one.strength == other.strength
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-2, atol=1e-2)


def test_held_out_part_is_stratified_and_leaves_every_class_an_image():
    """A tenth of each class is held out, nothing of a class with one image."""
    y = torch.cat([torch.zeros(50), torch.ones(20), torch.full((1,), 2)]).long()
    keep = rows.training_part(y, 0.1, 0)
    assert torch.bincount(y[~keep], minlength=3).tolist() == [5, 2, 0]
    assert not torch.equal(keep, rows.training_part(y, 0.1, 1))


@pytest.mark.parametrize("probe", [probes.linear_probe, probes.mlp_probe])
def test_probe_of_ideal_features_is_perfect(probe):
    """Features that name the class give accuracy 1, constant columns among them do no harm, and float16 will do."""
    y = torch.arange(120) % 3
    X = torch.nn.functional.one_hot(y, 5).half() * 4
    assert torch.equal(probe(X, y, X[:20], 3).predictions, y[:20])


@pytest.mark.parametrize(("n", "d"), [(300, 8), (90, 120)])
def test_what_is_held_out_has_no_part_in_the_choice(n, d, monkeypatch):
    """Held-out rows far off the others change neither mean and scale nor the accuracies that choose the strength."""
    X, y = blobs(n, d, 3, apart=3.0)
    keep = torch.arange(n) % 5 > 0
    X[~keep, : d // 2] += 100
    monkeypatch.setattr(linear, "training_part", lambda *_: keep)
    strengths = [1e-4, 1e-2, 1.0]
    Z = (X - X[keep].mean(0)) / X[keep].std(0, correction=0)
    models = [LogisticRegression(C=C, max_iter=5000).fit(Z[keep].numpy(), y[keep].numpy()) for C in strengths]
    found = probes.linear_probe(X, y, X, 3, strengths=strengths).validation
    expected = [model.score(Z[~keep].numpy(), y[~keep].numpy()) for model in models]
    assert found.tolist() == pytest.approx(expected, abs=0.03)
    leaky = (X[~keep] - X.mean(0)) / X.std(0)
    assert abs(models[0].score(leaky.numpy(), y[~keep].numpy()) - expected[0]) > 0.1
    assert torch.equal(rows.Table(X, standardise=True, keep=keep).mean, rows.Table(X[keep], standardise=True).mean)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (60, 100)])
def test_a_regression_goes_on_where_another_stopped(n, d):
    """Parameters taken from a solution, in whatever coordinates it was found, are that solution."""
    X, y = blobs(n, d, 3, apart=0.3)
    X[:, 3] = 7.0
    found = probes.logistic_regression(X, y, 3, [1e-2, 1.0])
    problem = logistic.Regression(rows.Table(X, standardise=True), y, 3)
    again = problem.unfolded(problem.start_at(found, 1), found.objective[:1], found.iterations[:1])
    torch.testing.assert_close(again.scores(X)[0], found.scores(X)[1], rtol=1e-3, atol=1e-3)


def test_ties_go_to_the_strongest_regularisation():
    """Where every strength is perfect on the held-out part, the smallest C is taken, wherever it stands in the list."""
    y = torch.arange(120) % 3
    X = torch.nn.functional.one_hot(y, 3).float()
    assert probes.linear_probe(X, y, X, 3, strengths=[1.0, 1e-2, 10.0]).strength == 1e-2


def test_a_class_without_images_is_never_predicted():
    """Ten classes of which three occur: the others have no say."""
    X, y = blobs(90, 8, 3)
    answers = probes.linear_probe(X, y * 3, X, 10).predictions
    assert set(answers.tolist()) <= {0, 3, 6}


def test_mlp_probe_learns_what_no_linear_probe_can():
    """Exclusive or: the MLP solves it, the linear probe is at chance; a seed repeats it; decay can be chosen."""
    X = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).long()
    mlp = probes.mlp_probe(X, y, X, 2, strengths=(1e-3, 1e-1), epochs=30, batch=50)
    assert (mlp.predictions == y).float().mean() > 0.95
    assert (probes.linear_probe(X, y, X, 2).predictions == y).float().mean() < 0.7
    one, other = (probes.mlp_probe(X, y, X, 2, epochs=1) for _ in range(2))
    assert torch.equal(one.scores, other.scores)


def test_four_points_by_hand():
    """Neighbours at 10 (A), 12 (B), 15 (B) and 180 degrees (A): k = 1 says A, k = 3 says B, and a cold T says A."""
    angles = torch.deg2rad(torch.tensor([10.0, 12.0, 15.0, 180.0]))
    bank = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [5.0], [0.1], [2.0]])
    found = probes.knn(
        bank, torch.tensor([0, 1, 1, 0]), torch.tensor([[2.0, 0.0]]), 2, k=(1, 3, 9), temperature=(0.07, 1e-3)
    )
    assert {key: int(v) for key, v in found.items()} == {
        (1, 0.07): 0, (1, 1e-3): 0, (3, 0.07): 1, (3, 1e-3): 0, (9, 0.07): 1, (9, 1e-3): 0,
    }  # fmt: skip


def test_knn_agrees_with_a_loop():
    """Prediction for prediction Wu et al.'s rule, written as a loop in float64."""
    X, y = blobs(300, 8, apart=0.5)
    test, _ = blobs(40, 8, seed=1)
    found = probes.knn(X, y, test, 4, k=(1, 10, 200), temperature=(0.07, 1.0))
    for (k, t), answers in found.items():
        for query, answer in zip(test, answers.tolist(), strict=True):
            s = torch.nn.functional.cosine_similarity(query.double()[None], X.double())
            votes = [0.0] * 4
            for i in s.argsort(descending=True)[:k].tolist():
                votes[int(y[i])] += float(torch.exp((s[i] - 1) / t))
            assert answer == votes.index(max(votes))


LIGHTLYS = {
    (200, 0.07): "01234042341144401134214342113211234012340223421234044341123203234021043130001334",
    (20, 0.5): "01234042342124401234212340113421234012340223421234013340123201232021043132002234",
    (1, 0.1): "01234040041244403134214332113214234212340200420234044341123233034021342140001334",
}
"""What lightly 1.6.0's ``knn_predict`` says of the images of the next test, at each k and T."""


@pytest.mark.parametrize(("k", "temperature"), LIGHTLYS)
def test_knn_agrees_with_lightly_image_by_image(k, temperature):
    """On the same features, each of 80 images gets the class that lightly's rule gave it, the wrong ones too."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 5
    centres = torch.randn(5, 16, generator=generator)
    bank = centres[labels] + 2 * torch.randn(300, 16, generator=generator)
    queries = centres[torch.arange(80) % 5] + 2 * torch.randn(80, 16, generator=generator)
    ours = probes.knn(bank, labels, queries, 5, k=(k,), temperature=(temperature,))[k, temperature]
    assert "".join(map(str, ours.tolist())) == LIGHTLYS[k, temperature]


def test_knn_survives_a_bank_smaller_than_k_and_zero_vectors():
    """k is clamped to the bank; an all-zero image is answered, not a NaN."""
    found = probes.knn(torch.zeros(3, 4), torch.tensor([0, 1, 1]), torch.zeros(2, 4), 2, k=(200,), temperature=(1e-3,))
    assert found[200, 1e-3].tolist() == [1, 1]


def test_bank_in_tiles_finds_the_same_neighbours(monkeypatch):
    """A bank too large to be prepared whole, in more than one tile, has the same neighbours."""
    bank, queries = torch.randn(70000, 4), torch.randn(5, 4)
    monkeypatch.setattr(neighbours, "COPY_BYTES", 0)
    ((s, i),) = probes.nearest(bank, queries, 20, 256)
    exact = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(bank).T
    torch.testing.assert_close(s, exact.topk(20).values)
    torch.testing.assert_close(exact.gather(1, i), s)


@pytest.mark.parametrize("k", [1, 7, 24, 97, 98])
def test_highest_is_topk(k):
    """In groups as in one, with a few columns left over, with k at the last place, and with two that are equal."""
    scores = torch.randn(6, 98, generator=torch.Generator().manual_seed(0))
    scores[0, 3] = scores[0, 90] = 9.0
    s, i = neighbours.highest(scores, k)
    torch.testing.assert_close(s, scores.topk(k).values, rtol=0, atol=0)
    torch.testing.assert_close(scores.gather(1, i), s, rtol=0, atol=0)
    assert all(len(set(row)) == k for row in i.tolist())


@pytest.mark.parametrize(("n", "d"), [(60, 10), (20, 50)])
def test_ridge_agrees_with_scikit_learn(n, d):
    """Weights and bias of every penalty, with fewer and with more features than images."""
    X, _ = blobs(n, d)
    Y = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    weights, bias = probes.ridge(X, Y, [0.1, 10.0])
    for i, penalty in enumerate([0.1, 10.0]):
        model = Ridge(alpha=penalty).fit(X.double().numpy(), Y.double().numpy())
        np.testing.assert_allclose(weights[i].numpy(), model.coef_.T, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(bias[i].numpy(), model.intercept_, rtol=1e-3, atol=1e-3)


def test_k_means_finds_clear_clusters_as_scikit_learn_does():
    """Well-separated groups come back whole with scikit-learn's inertia, and a seed repeats them."""
    X, y = blobs(200, 5)
    X = X / X.std(0) + 50 * torch.nn.functional.one_hot(y, 5)
    found = probes.k_means(X, 4)
    assert found.inertia == pytest.approx(KMeans(4, n_init=5, random_state=0).fit(X.numpy()).inertia_, rel=1e-3)
    assert len({(int(a), int(b)) for a, b in zip(found.assignments, y, strict=True)}) == 4
    assert torch.equal(found.assignments, probes.k_means(X, 4).assignments)


def test_k_means_fills_empty_clusters():
    """Centres placed where no image is are moved to images."""
    X = torch.tensor([[0.0], [1.0], [10.0], [11.0], [30.0]])
    found = clusters.lloyd(X, torch.tensor([[0.0], [500.0], [900.0]]), 20)
    assert sorted(torch.bincount(found.assignments, minlength=3).tolist()) == [1, 2, 2]


def test_k_means_with_as_many_clusters_as_images_leaves_no_distance():
    """Every image is its own centre, and equal images do not trip it."""
    assert probes.k_means(torch.arange(6.0)[:, None], 6).inertia == 0
    assert probes.k_means(torch.ones(6, 2), 3).inertia == 0


def nan_at(row: int) -> Tensor:
    X = torch.randn(20, 4)
    X[row, 2] = torch.nan
    return X


X, Y = torch.randn(20, 4), torch.arange(20) % 2


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda: probes.linear_probe(nan_at(3), Y, X, 2), "NaN"),
        (lambda: probes.linear_probe(X, Y, nan_at(3), 2), "NaN"),
        (lambda: probes.knn(X / 0, Y, X, 2), "NaN"),
        (lambda: probes.linear_probe(X, Y * 0, X, 2), "same label"),
        (lambda: probes.mlp_probe(X, Y * 0, X, 2), "same label"),
        (lambda: probes.linear_probe(X, Y + 1, X, 2), "labels"),
        (lambda: probes.linear_probe(X, Y - 1, X, 2), "labels"),
        (lambda: probes.linear_probe(X, Y[:5], X, 2), "labels"),
        (lambda: probes.linear_probe(X[:0], Y[:0], X, 2), "images"),
        (lambda: probes.linear_probe(X, Y, X, 2, strengths=[-1.0]), "strengths"),
        (lambda: probes.logistic_regression(X, Y, 2, [1.0], precision="fp8"), "precision"),
        (lambda: probes.knn(X, Y, X, 2, k=(0,)), "k"),
        (lambda: probes.knn(X, Y, X, 2, temperature=(0.0,)), "temperature"),
        (lambda: probes.k_means(X, 21), "k"),
        (lambda: probes.ridge(X, X[:3], [1.0]), "targets"),
    ],
)
def test_mistakes_are_told_in_one_line(wrong, word):
    """What cannot be measured is refused with a sentence, not with a NaN."""
    with pytest.raises(UserError, match=word) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_no_device_slips():
    """On fake CUDA tensors a pass of the solver, its preconditioner, the search and the clusters stay on the device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    problem = logistic.Regression(rows.Table(torch.randn(30, 6), standardise=True), torch.arange(30) % 3, 3)
    with FakeTensorMode(allow_non_fake_inputs=True):
        problem.table.features = torch.empty(30, 6, device="cuda")
        problem.table.mean, problem.table.scale = torch.empty(6, device="cuda"), torch.empty(6, device="cuda")
        problem.table.kept, problem.rows = [], problem.table
        problem.labels, problem.priors = torch.zeros(30, dtype=torch.int64, device="cuda"), torch.ones(3, device="cuda")
        eigen = torch.empty(6, 6, device="cuda"), torch.empty(6, device="cuda"), torch.empty((), device="cuda")
        problem.curvature = curvature.Curvature(*eigen)
        x, penalty = problem.start([1.0, 2.0]), torch.ones(2, dtype=torch.float64, device="cuda")
        for dtype in (torch.float32, torch.bfloat16):
            f, g, doubt = problem.evaluate(x, penalty, None, dtype)
            direction = problem.direction(g, doubt, penalty, [(g, g, f)])
            assert {t.device.type for t in (x, f, g, direction)} == {"cuda"}
        ((s, i),) = probes.nearest(torch.empty(50, 4, device="cuda"), torch.empty(9, 4, device="cuda"), 5, 16)
        assert s.shape == i.shape == (9, 5)
        assert s.is_cuda
        assert clusters.assigned(torch.empty(9, 4, device="cuda"), torch.empty(2, 4, device="cuda")).is_cuda
