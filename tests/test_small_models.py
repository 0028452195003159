"""The benchmark of small models in miniature: both tables, their ratios and the report."""

import json

import pytest

from benchmarks import small_models
from benchmarks.small_models import Options, Sizes
from vnca_jax.errors import InputError


def check_ratio(ratio, numerator, denominator):
    first, second = (sorted(times["seconds"])[len(times["seconds"]) // 2] for times in (numerator, denominator))
    assert ratio["value"] == pytest.approx(first / second)


@pytest.mark.long
def test_in_miniature(tmp_path, capfd):
    """Every ratio is that of the medians of the times that are reported."""
    pytest.importorskip("torch", reason="the steps stand beside PyTorch's")
    path = tmp_path / "small.json"
    small_models.main(Options(sizes=Sizes(2, 2, 8, 4, 2, num_samples=4), repeats=1, json=path))
    found = json.loads(path.read_text())
    times, printed = found["measurements"], capfd.readouterr().out
    assert len(times) == 3 * 2 + 2 * 2 and len(found["ratios"]) == 3 + 2
    pairs = list(zip([*times][::2], [*times][1::2], strict=True))
    for (first, second), ratio in zip(pairs, found["ratios"], strict=True):
        assert first.split(":")[0] == second.split(":")[0]
        check_ratio(ratio, times[first], times[second])
        assert ratio["what"] in printed and first in printed
    assert [ratio["target"] for ratio in found["ratios"]] == [0.75] * 3 + [None] * 2


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="--repeats is 0 but must be at least 1"):
        small_models.main(Options(repeats=0))
    with pytest.raises(InputError, match="is not a folder you can write to"):
        small_models.main(Options(json=tmp_path / "nowhere" / "a.json"))
