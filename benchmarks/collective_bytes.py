"""How many bytes a compiled program moves between devices: a count over the text of its optimized HLO.

A collective of D devices counts as the bytes that each of them receives where the work is shared evenly, from the size
of a device's operand:

    all-gather          (D - 1) operand, which is (D - 1) / D of the output
    reduce-scatter      (D - 1) / D operand, which is D - 1 times the output
    all-reduce          2 (D - 1) / D operand: a reduce-scatter, then an all-gather
    all-to-all          (D - 1) / D operand
    collective-permute  the operand, unless every device sends to itself

What a while loop calls is multiplied by the loop's trip count, where the compiler knows it, and else counts once; of a
conditional every branch counts, as if all were taken. Nothing else is left out: a collective of another kind, or one
that the text does not describe as expected, is a ValueError.
"""

import re
from collections import defaultdict
from fractions import Fraction

from benchmarks.hlo import parse

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8, "token": 0, "opaque": 0}  # of types whose name does not end in their number of bits

_MOVES = re.compile(r"all-|reduce-scatter|ragged-|collective-|send|recv")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_CALLED_LIST = re.compile(r"\b(?:branch_computations|called_computations|calls)=\{([^}]*)\}")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


def collective_bytes(hlo_text: str) -> dict[str, int]:
    """Bytes that each device receives in one run of a program, by kind of collective (all of `KINDS`).

    `hlo_text` is what `compiled.as_text()` gives. Raises ValueError for a collective that cannot be counted.
    """
    computations, entry = parse(hlo_text)
    num_devices = _header_number(hlo_text, "replica_count") * _header_number(hlo_text, "num_partitions")
    known: dict[str, dict[str, Fraction]] = {}

    def bytes_of(computation: str) -> dict[str, Fraction]:
        if computation not in known:
            instructions = computations[computation]
            shapes = {instruction.name: instruction.shape for instruction in instructions}
            total: dict[str, Fraction] = defaultdict(Fraction)
            for instruction in instructions:
                kind = _kind(instruction)
                if kind is not None:
                    operand_bytes = sum(array_bytes(shapes[name]) for name in instruction.operands)
                    total[kind] += operand_bytes * _share(kind, instruction.attributes, num_devices)
                    continue
                times = _trip_count(instruction)
                for called in _called(instruction):
                    for called_kind, moved in bytes_of(called).items():
                        total[called_kind] += times * moved
            known[computation] = total
        return known[computation]

    moved = bytes_of(entry)
    return {kind: round(moved.get(kind, 0)) for kind in KINDS}


def array_bytes(shape: str) -> int:
    """Bytes of an array, or of all in a tuple, by its HLO type: `f32[2,3]{1,0}`, `(u8[4], s32[])`."""
    num_bits = 0
    for dtype, dimensions in _ARRAY.findall(shape):
        size = 1
        for dimension in filter(None, dimensions.replace("<=", "").split(",")):
            size *= int(dimension)
        num_bits += size * _bits(dtype)
    return num_bits // 8


def _bits(dtype):
    """Bits of a number: pred, s32, u4, bf16, f8e4m3fn, c64."""
    if dtype in BITS:
        return BITS[dtype]
    match = re.match(r"(?:bf|[sufc])(\d+)", dtype)
    if match is None:
        raise ValueError(f"the HLO has numbers of type {dtype!r}, whose size is not known here")
    return int(match[1])


def _kind(instruction):
    """The kind of a collective, None for anything else; of an asynchronous pair, the start stands for both."""
    if not _MOVES.match(instruction.opcode) or instruction.opcode.endswith("-done"):
        return None
    kind = instruction.opcode.removesuffix("-start")
    if kind not in KINDS or not instruction.operands:
        raise ValueError(f"how much %{instruction.name} moves, a {instruction.opcode}, is not known here")
    return kind


def _share(kind, attributes, num_devices):
    """What a device receives, as a multiple of its operand."""
    if kind == "collective-permute":
        pairs = re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", attributes)
        if pairs is None:
            raise ValueError(f"a collective-permute does not say who sends to whom: {attributes[:80]}")
        return Fraction(any(source != target for source, target in re.findall(r"(\d+),(\d+)", pairs[1])))
    size = _group_size(attributes, num_devices)
    shares = {"all-gather": Fraction(size - 1), "all-reduce": Fraction(2 * (size - 1), size)}
    return shares.get(kind, Fraction(size - 1, size))


def _group_size(attributes, num_devices):
    """Devices that take part in a collective together: `{{0,1},{2,3}}` and `[2,2]<=[4]` have 2, `{}` has all."""
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes)
    if iota is not None:
        return int(iota[1])
    groups = re.search(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}", attributes)
    if groups is None:
        raise ValueError(f"a collective's groups of devices are not understood: {attributes[:80]}")
    sizes = [len(group.split(",")) for group in re.findall(r"\{([\d,]+)\}", groups[1])]
    return max(sizes, default=num_devices)


def _trip_count(instruction):
    known = _TRIP_COUNT.search(instruction.attributes) if instruction.opcode == "while" else None
    return int(known[1]) if known is not None else 1


def _called(instruction):
    """Names of the computations that an instruction runs."""
    if instruction.opcode in ("async-update", "async-done"):
        return []
    attributes = instruction.attributes
    lists = ",".join(_CALLED_LIST.findall(attributes))
    return _CALLED.findall(attributes) + re.findall(r"[\w.\-]+", lists)


def _header_number(hlo_text, name):
    found = re.search(rf"\b{name}=(\d+)", hlo_text.partition("\n")[0])
    return int(found[1]) if found is not None else 1
