"""The cycles of a program against sums by hand, on a text in the form of a TPU compiler's."""

import pytest

from benchmarks.tpu_cycles import Operation, cycles_of, read

CYCLES = 'backend_config={"window_config":{"estimated_cycles":"%d"}}'
TEXT = f"""HloModule jit_run, is_scheduled=true

FileNames
1 "/somewhere/vnca_jax/step.py"
2 "/somewhere/vnca_jax/conv.py"

FunctionNames
1 "run"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=114 end_line=114 column=15 end_column=68}}
2 {{file_name_id=2 function_name_id=1 line=37 end_line=38 column=3 end_column=8}}

StackFrames
1 {{file_location_id=1 parent_frame_id=1}}
2 {{file_location_id=2 parent_frame_id=1}}

%fused (p: f32[2]) -> f32[2] {{
  ROOT %mul = f32[2]{{0}} multiply(%p, %p), {CYCLES % 999}
}}

%eight (p: (s32[], f32[2])) -> pred[] {{
  %constant.1 = s32[]{{:T(128)}} constant(8), metadata={{op_name="a"}}
  ROOT %lt = pred[] compare(%i, %constant.1), direction=LT
}}

%eight_body (p: (s32[], f32[2])) -> (s32[], f32[2]) {{
  %fusion.1 = f32[2,3]{{1,0:T(8,128)}} fusion(%a), calls=%fused, metadata={{stack_frame_id=2}}, {CYCLES % 10}
}}

%many (p: (s32[], s32[])) -> pred[] {{
  ROOT %lt.2 = pred[] compare(%i, %n), direction=LT
}}

%many_body (p: (s32[], s32[])) -> (s32[], s32[]) {{
  %fusion.2 = (bf16[4]{{0}}, f32[]) fusion(%a), calls=%fused, metadata={{stack_frame_id=9}}, {CYCLES % 3}
}}

%cheap (p: f32[2]) -> f32[2] {{
  %copy.1 = f32[2]{{0}} copy(%a), {CYCLES % 5}
}}

%dear (p: f32[2]) -> f32[2] {{
  %copy.2 = f32[2]{{0}} copy(%a), {CYCLES % 7}
  %copy.3 = f32[2]{{0}} copy(%a), {CYCLES % 7}
}}

%updates (p: (s32[], s32[])) -> pred[] {{
  ROOT %lt.3 = pred[] compare(%i, %n), direction=LT
}}

%update (p: (s32[], s32[])) -> (s32[], s32[]) {{
  %while.1 = (s32[], f32[2]) while(%t), condition=%eight, body=%eight_body, metadata={{op_name="b"}}
  %while.2 = (s32[], s32[]) while(%t), condition=%many, body=%many_body
  %conditional.1 = f32[2]{{0}} conditional(%i, %a, %b), branch_computations={{%cheap, %dear}}
  %fusion.3 = f32[2]{{0}} fusion(%a), kind=kLoop, calls=%fused, {CYCLES % 100}
}}

ENTRY %main (p: f32[2]) -> f32[2] {{
  %fusion.4 = f32[2]{{0}} fusion(%a), kind=kLoop, calls=%fused, {CYCLES % 1000}
  %while.3 = (s32[], s32[]) while(%t), condition=%updates, body=%update
  %while.4 = (s32[], f32[2]) while(%t), condition=%eight, body=%eight_body
}}
"""


def test_cycles_by_hand():
    """An update: 8 turns of 10, 48 of 3, the dearer branch's 14, and 100; what a fusion calls is in its own number."""
    program = read(TEXT)
    assert (program.entry, program.update()) == ("main", "update")
    operations = list(program.operations("update", 48))
    assert cycles_of(operations) == 80 + 144 + 14 + 100
    assert operations[0] == Operation(10, 8, "fusion.1 f32[2,3]", "conv.py:37")
    assert operations[1] == Operation(3, 48, "fusion.2 bf16[4]", "")
    assert cycles_of(list(program.operations("main", 2.5))) == 1000 + 2.5 * (80 + 2.5 * 3 + 14 + 100) + 80


def test_a_conditional_in_a_longer_loop():
    """Six of eight turns take the dear branch's 14, the others the cheap one's 5."""
    text = TEXT.replace(
        "%eight_body (p: (s32[], f32[2])) -> (s32[], f32[2]) {",
        """%eight_body (p: f32[2]) -> f32[2] {
  %conditional.2 = f32[2]{0} conditional(%i, %a, %b), branch_computations={%cheap, %dear}""",
    )
    operations = list(read(text).operations("eight_body", 6, times=8, within=8))
    assert cycles_of(operations) == 6 * (7 + 7) + 2 * 5 + 8 * 10
    assert cycles_of(list(read(text).operations("eight_body", 9, times=8, within=8))) == 8 * (7 + 7) + 8 * 10


def test_not_a_program():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        read("HloModule nothing\n")
