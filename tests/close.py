"""What is equal up to rounding, for arrays whose entries are of one order."""

import numpy as np


def assert_close(actual, expected, tolerance):
    """Equal shapes, and errors of at most `tolerance` times the largest expected value."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())
