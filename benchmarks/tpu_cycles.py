"""What a TPU's compiler says of a program of its own: the cycles of each operation, read from its optimized HLO.

The compiler estimates the cycles of every fusion and writes them into its text. A loop counts as often as its condition
says, where that compares with a constant; one whose number of turns is an argument counts as often as the caller says.
Of a conditional the dearest branch counts; in a loop of more turns than the caller says, in so many of them, and the
other branch in the rest. These are estimates, made to compare programs: no promise of times.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.hlo import Instruction, parse

_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_LOOP = re.compile(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CALLED = re.compile(r"(?:to_apply|calls)=%?([\w.\-]+)")
_ARRAY = re.compile(r"\w+\[[\d,]*\]")
_FRAME = re.compile(r"stack_frame_id=(\d+)")


class Operation(NamedTuple):
    """An operation that has cycles: in one turn, how many turns, its name, and where it stands in our code."""

    cycles: int
    times: float
    name: str
    source: str


class Compiled(NamedTuple):
    """A program as its compiler left it: each computation's instructions, the entry's name, a place for each frame."""

    computations: dict[str, list[Instruction]]
    entry: str
    frames: dict[int, str]

    def update(self) -> str:
        """The computation of one update: the body of the entry's only loop whose number of turns is an argument."""
        loops = [_loop(one) for one in self.computations[self.entry] if one.opcode == "while"]
        (body,) = {body for condition, body in loops if self.turns(condition) is None}
        return body

    def turns(self, condition: str) -> int | None:
        """How often a loop turns, None where that is an argument: the constant that its condition compares with."""
        constants = [one.inside for one in self.computations[condition] if one.opcode == "constant"]
        return max((int(value) for value in constants if value.isdigit()), default=None)

    def operations(self, computation: str, turns: float, times: float = 1, within: float = 1) -> Iterator[Operation]:
        """All operations of a computation that have cycles; loops of unknown length turn `turns` times.

        The computation runs `times` times, in `within` turns of the innermost loop around it.
        """
        for one in self.computations[computation]:
            cycles, frame = _CYCLES.search(one.attributes), _FRAME.search(one.attributes)
            if one.opcode == "while":
                condition, body = _loop(one)
                known = self.turns(condition)
                inside = turns if known is None else known
                yield from self.operations(body, turns, times * inside, inside)
            elif branches := _BRANCHES.search(one.attributes):
                names = [name.strip().lstrip("%") for name in branches[1].split(",")]
                share = min(1, turns / within) if turns > 1 else 1
                dear = max(names, key=lambda name: cycles_of(list(self.operations(name, turns))))
                yield from self.operations(dear, turns, share * times)
                for name in names:
                    if name != dear and share < 1:
                        yield from self.operations(name, turns, (1 - share) * times)
            elif cycles:
                words = " ".join([one.name, *_ARRAY.findall(one.shape)[:1]])
                yield Operation(int(cycles[1]), times, words, self.frames.get(int(frame[1]), "") if frame else "")
            elif one.opcode in ("call", "async-start") and (called := _CALLED.search(one.attributes)):
                yield from self.operations(called[1], turns, times)


def cycles_of(operations: list[Operation]) -> float:
    """Of all of them, each as often as it runs."""
    return sum(operation.times * operation.cycles for operation in operations)


def read(hlo_text: str) -> Compiled:
    """The program of `compiled.as_text()`; raises ValueError for a text without an entry."""
    return Compiled(*parse(hlo_text), _frames(hlo_text))


def _loop(instruction: Instruction) -> tuple[str, str]:
    """The condition and the body of a while loop."""
    found = _LOOP.search(instruction.attributes)
    if found is None:
        raise ValueError(f"the loop %{instruction.name} names no condition and body")
    return found[1], found[2]


def _frames(hlo_text: str) -> dict[int, str]:
    """`file:line` of each stack frame, from the tables at the head of the text."""
    files = {int(n): name for n, name in re.findall(r'^(\d+) "([^"]*)"$', _part(hlo_text, "FileNames"), re.MULTILINE)}
    places = re.findall(r"^(\d+) \{file_name_id=(\d+).*?\bline=(\d+)", _part(hlo_text, "FileLocations"), re.MULTILINE)
    lines = {int(n): f"{files.get(int(file), '?').rpartition('/')[2]}:{line}" for n, file, line in places}
    frames = re.findall(r"^(\d+) \{file_location_id=(\d+)", _part(hlo_text, "StackFrames"), re.MULTILINE)
    return {int(n): lines.get(int(place), "") for n, place in frames}


def _part(hlo_text: str, name: str) -> str:
    """The lines of a table, up to the empty one after it."""
    return hlo_text.partition(f"\n{name}\n")[2].partition("\n\n")[0]
