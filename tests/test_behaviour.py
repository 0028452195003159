"""What changes of the code's structure must not move: the numbers that `reference/make_behaviour.py` once recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REFERENCE = Path(__file__).parent / "reference"
sys.path.insert(0, str(REFERENCE))
import make_behaviour  # noqa: E402

RECORDED = json.loads(make_behaviour.FILE.read_text())


@pytest.mark.parametrize("name", make_behaviour.PRETRAINED)
def test_bounds(name):
    """KL, log p(x|z) and IWELBO of a pretrained model, in nats."""
    found = make_behaviour.bounds(name)
    assert found.keys() == RECORDED["bounds"][name].keys()
    for term, value in RECORDED["bounds"][name].items():
        assert found[term] == pytest.approx(value, rel=1e-6, abs=1e-4), term


@pytest.mark.slow
def test_losses(tmp_path):
    """The first 20 updates of three models on 1 and 8 devices; only the order of sums may differ."""
    program = "import make_behaviour, json; print(json.dumps(make_behaviour.all_losses()))"
    variables = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "8",
        "PYTHONPATH": f"{REFERENCE}:{REFERENCE.parents[1]}",
    }
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    for model, by_devices in RECORDED["losses"].items():
        for count, losses in by_devices.items():
            np.testing.assert_allclose(found[model][count], losses, rtol=1e-5, err_msg=f"{model} on {count}")
