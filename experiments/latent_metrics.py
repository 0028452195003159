"""How far apart the digits lie in a set of points: nearest neighbours, silhouette and linear probe, by scikit-learn."""

import numpy as np
from jaxtyping import Float, Integer
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vnca_jax.eval import mean_and_error

NEIGHBOURS = 10
FOLDS = 5
CONFIDENCE = 0.95

Points = Float[np.ndarray, "n d"]
Labels = Integer[np.ndarray, " n"]
Vector = Float[np.ndarray, " n"]


def neighbour_accuracy(points: Points, labels: Labels) -> float:
    """The share of points whose NEIGHBOURS nearest others have most often their own label (leave one out)."""
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(points).kneighbors(points, return_distance=False)
    others = np.stack([row[row != i][:NEIGHBOURS] for i, row in enumerate(nearest)])  # a twin may come before itself
    votes = np.stack([(labels[others] == label).sum(axis=1) for label in range(10)], axis=1)
    return float((votes.argmax(axis=1) == labels).mean())


def silhouette(points: Points, labels: Labels) -> float:
    """The mean of (b - a) / max(a, b): a is the mean distance to the same digit, b to the nearest other (-1 to 1)."""
    return float(silhouette_score(points, labels))


def probe_accuracy(points: Points, labels: Labels, *, seed: int) -> float:
    """The held-out accuracy of a logistic regression, the mean over FOLDS folds; each point is one image."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(cross_val_score(probe, points, labels, cv=folds).mean())


def planes(points: Points, *, perplexity: float, seed: int) -> dict[str, Float[np.ndarray, "n 2"]]:
    """The points in two dimensions: by t-SNE from a random start, and by the first two principal components."""
    tsne = TSNE(perplexity=perplexity, init="random", random_state=seed, n_jobs=-1).fit_transform(points)
    return {"t-SNE plane": tsne, "PCA plane": PCA(2, random_state=seed).fit_transform(points)}


def measures(latents: Points, in_planes: dict[str, Points], labels: Labels, *, seed: int) -> dict[str, float]:
    """All of the above by name: in the latent space itself and in each plane."""
    found = {"linear probe accuracy, latent space": probe_accuracy(latents, labels, seed=seed)}
    for space, points in {"latent space": latents, **in_planes}.items():
        found[f"{NEIGHBOURS}-NN accuracy, {space}"] = neighbour_accuracy(points, labels)
        found[f"silhouette, {space}"] = silhouette(points, labels)
    return found


def compare(draws: list[dict[str, list[dict[str, float]]]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Each measure of the VNCA, of the baseline, and their difference, each with the half width of its interval.

    `draws[i][kind]` has the measures of each model of a kind. With several models of both kinds the interval is over
    models; otherwise it is over draws, the difference paired, and says nothing of another training.
    """
    of_models = all(len(models) > 1 for models in draws[0].values())
    rows = {}
    for name in draws[0]["VNCA"][0]:
        values = {
            kind: np.array([[model[name] for model in draw[kind]] for draw in draws]).mean(axis=0 if of_models else 1)
            for kind in draws[0]
        }
        rows[name] = {kind: interval(x) for kind, x in values.items()}
        rows[name]["difference"] = difference(values["VNCA"], values["baseline"], paired=not of_models)
    return rows


def interval(x: Vector) -> tuple[float, float]:
    """The mean and the half width of its CONFIDENCE interval by Student's t, of at least two values."""
    scale = stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 1)
    mean, error = mean_and_error(x)
    return mean, float(scale * error)


def difference(x: Vector, y: Vector, *, paired: bool) -> tuple[float, float]:
    """The mean of x minus that of y and the half width of its interval, of pairs or of two samples (Welch's t)."""
    if paired:
        return interval(x - y)
    found = stats.ttest_ind(x, y, equal_var=False).confidence_interval(CONFIDENCE)
    return float(x.mean() - y.mean()), float(found.high - found.low) / 2
