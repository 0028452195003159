"""Which grey image each binary image was drawn from, by maximal likelihood: pure numerics.

A binary image x whose pixels were drawn from a grey image g of pixels 0..255 has, in nats,

    log p(x | g) = sum_i x_i log(g_i / 255) + (1 - x_i) log(1 - g_i / 255).

A pixel that is 1 where g is 0, or 0 where g is 255, makes x impossible under g. Such pixels are counted by one product
of small integers in float32, which is exact; most pairs have some, so only the few pairs left are summed, in float64.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from tqdm import tqdm

from vnca_jax.errors import InputError

BLOCK_ENTRIES = 1 << 23  # of the matrix of binary by grey images, at a time
BLOCK_PIXELS = 1 << 24  # of the pairs that are summed, at a time


@dataclass(frozen=True, eq=False)
class Matching:
    """The grey image of each binary image, all different, and how sure that is."""

    index: Int64[np.ndarray, " n"]
    """The grey image of each binary one: `best`, but where several had the same best, what makes all likeliest."""
    best: Int64[np.ndarray, " n"]
    """The grey image of maximal likelihood, the first of those that tie."""
    log_likelihood: Float64[np.ndarray, " n"]
    """log p(x | grey[index]), nats; minus infinity where it is impossible."""
    margin: Float64[np.ndarray, " n"]
    """Nats from `best` to its runner-up: 0 for a tie, infinite where every other grey image is impossible."""
    duplicate_binary: int
    """Binary images that are copies of an earlier one."""
    duplicate_grey: int
    """Grey images that are copies of an earlier one."""

    @property
    def num_tied(self) -> int:
        """Binary images with more than one best grey image."""
        return int((self.margin == 0).sum())

    @property
    def is_one_to_one(self) -> bool:
        """Whether `best` alone names no grey image twice."""
        return len(np.unique(self.best)) == len(self.best)

    @property
    def moved(self) -> Bool[np.ndarray, " n"]:
        """Binary images that another one kept from their best."""
        return self.index != self.best


def match(binary: UInt8[np.ndarray, "n pixels"], grey: UInt8[np.ndarray, "m pixels"]) -> Matching:
    """The most likely grey image (pixels 0..255) of each binary image (pixels 0, 1), each used at most once.

    Where no grey image is possible, those with the fewest impossible pixels compete. Raises InputError for fewer grey
    than binary images.
    """
    if len(binary) > len(grey):
        raise InputError(
            f"{len(binary)} binary images were given for {len(grey)} grey ones; give at least as many grey ones."
        )
    best, margin = _best(binary, grey)
    index = _assigned(binary, grey, best)
    finite, impossible = _log_likelihoods(binary, grey, np.arange(len(binary)), index)
    duplicate_binary, duplicate_grey = (len(rows) - len({row.tobytes() for row in rows}) for rows in (binary, grey))
    log_likelihood = np.where(impossible > 0, -np.inf, finite)
    return Matching(index, best, log_likelihood, margin, duplicate_binary, duplicate_grey)


def _best(
    binary: UInt8[np.ndarray, "n pixels"], grey: UInt8[np.ndarray, "m pixels"]
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """The first grey image of maximal likelihood, and the margin to the runner-up."""
    decided = binary.any(axis=0) | grey.any(axis=0)  # pixels that are black throughout say nothing
    binary_used, grey_used = binary[:, decided].astype(np.float32), grey[:, decided]
    change = ((grey_used == 0).astype(np.float32) - (grey_used == 255)).T
    if_black = (grey_used == 255).sum(axis=1, dtype=np.float32)
    best, margin = np.empty(len(binary), np.int64), np.empty(len(binary))
    size = max(1, BLOCK_ENTRIES // len(grey))
    for start in tqdm(range(0, len(binary), size), desc="matching", delay=5):
        impossible: Float32[np.ndarray, "block m"] = binary_used[start : start + size] @ change + if_black
        rows, columns = np.nonzero(impossible == impossible.min(axis=1, keepdims=True))
        finite, _ = _log_likelihoods(binary, grey, start + rows, columns)
        order = np.lexsort((columns, -finite, rows))  # by row, then the likelier, then the earlier
        rows, columns, finite = rows[order], columns[order], finite[order]
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        has_second = np.diff(first, append=len(rows)) > 1
        second = np.where(has_second, finite[np.minimum(first + 1, len(rows) - 1)], -np.inf)
        best[start : start + size], margin[start : start + size] = columns[first], finite[first] - second
    return best, margin


def _assigned(
    binary: UInt8[np.ndarray, "n pixels"], grey: UInt8[np.ndarray, "m pixels"], best: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """`best`, and where it names a grey image twice, the likeliest assignment of it and unclaimed ones, one each."""
    from scipy.optimize import linear_sum_assignment  # here, as it takes a while to import

    claims = np.bincount(best, minlength=len(grey))
    colliding, free = np.flatnonzero(claims[best] > 1), np.flatnonzero(claims != 1)
    rows, columns = (axis.ravel() for axis in np.meshgrid(colliding, free, indexing="ij"))
    finite, impossible = _log_likelihoods(binary, grey, rows, columns)
    penalty = 1 + len(colliding) * binary.shape[1] * np.log(255)  # beyond all that possible pixels can come to
    score = (finite - penalty * impossible).reshape(len(colliding), len(free))
    chosen_rows, chosen_columns = linear_sum_assignment(score, maximize=True)
    index = best.copy()
    index[colliding[chosen_rows]] = free[chosen_columns]
    return index


def _log_likelihoods(
    binary: UInt8[np.ndarray, "n pixels"],
    grey: UInt8[np.ndarray, "m pixels"],
    rows: Int64[np.ndarray, " pairs"],
    columns: Int64[np.ndarray, " pairs"],
) -> tuple[Float64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """log p(binary[row] | grey[column]) over the possible pixels of each pair, and how many pixels are impossible."""
    level = np.arange(256) / 255
    with np.errstate(divide="ignore"):
        table = np.stack([np.log1p(-level), np.log(level)])
    is_impossible = np.isinf(table)
    table = np.where(is_impossible, 0, table).ravel()
    is_impossible = is_impossible.ravel()
    finite, impossible = np.empty(len(rows)), np.empty(len(rows), np.int64)
    size = max(1, BLOCK_PIXELS // binary.shape[1])
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        entry = binary[rows[block]] * np.uint16(256) + grey[columns[block]]
        finite[block], impossible[block] = table[entry].sum(axis=1), is_impossible[entry].sum(axis=1)
    return finite, impossible
