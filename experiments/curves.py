"""The training curves of a run, from what it has recorded."""

from pathlib import Path

import numpy as np
from jaxtyping import Num

from vnca_jax import metrics

SMOOTHING = 100  # updates whose mean is one point of a curve

Series = dict[str, tuple[Num[np.ndarray, " _"], Num[np.ndarray, " _"]]]


def training(directory: Path, newest: dict[str, float] | None = None) -> tuple[Series, int]:
    """-ELBO, its terms and, where a run has taken it, the held-out -ELBO, in nats, and how many updates a point is of.

    `series[name]` is (updates, values); all but the held-out one are means of so many updates. `newest` is a report
    that is not recorded yet.
    """
    columns = metrics.read(directory / metrics.METRICS)
    window = max(1, min(SMOOTHING, len(columns["step"]) // 20))
    length = len(columns["step"]) // window * window

    def smooth(x):
        return x[:length].reshape(-1, window).mean(axis=1)

    signed = {"-ELBO": columns["loss"], "-log p(x|z)": -columns["log_px_given_z"], "KL": columns["kl"]}
    series = {name: (smooth(columns["step"]), smooth(y)) for name, y in signed.items()}
    reports = metrics.read(directory / metrics.REPORTS) if (directory / metrics.REPORTS).exists() else {}
    if newest:
        reports = {name: np.append(reports.get(name, []), value) for name, value in newest.items()}
    if metrics.HELD_OUT in reports:
        series["-ELBO, held out"] = (reports["step"], -reports[metrics.HELD_OUT])
    return series, window
