"""The text of an optimized HLO module, as the instructions of its computations by name."""

import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*->.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = ")


class Instruction(NamedTuple):
    """A line of HLO: what it is called, what it gives, what it does to which operands, its attributes as text, and what
    stands in the place of operands, such as a constant's value.
    """

    name: str
    shape: str
    opcode: str
    operands: list[str]
    attributes: str
    inside: str


def parse(hlo_text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The instructions of every computation by its name, and the name of the entry; raises ValueError without one."""
    computations, entry, instructions = {}, None, None
    for line in hlo_text.splitlines():
        header, assigned = _COMPUTATION.match(line), _INSTRUCTION.match(line)
        if header is not None:
            instructions = computations[header[1]] = []
            entry = header[1] if line.startswith("ENTRY") else entry
        elif assigned is not None and instructions is not None:
            instructions.append(_instruction(assigned[1], line[assigned.end() :]))
    if entry is None:
        raise ValueError("the text is no HLO module: it has no ENTRY computation")
    return computations, entry


def _instruction(name, text):
    """`text` is `shape opcode(operands), attributes`; a shape may be a tuple, and a layout may have parentheses."""
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    shape, call = text[:end], text[end:].lstrip()
    start = call.index("(")
    end = _closing(call, start)
    operands = re.findall(r"%([\w.\-]+)", call[start:end])
    return Instruction(name, shape, call[:start], operands, call[end:], call[start + 1 : end - 1])


def _closing(text, start):
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i + 1
    raise ValueError(f"a parenthesis of the HLO is never closed: {text[start : start + 80]}")
