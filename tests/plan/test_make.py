"""What a plan consists of: stages in order, each once, and each target's variants, for encoders and for decoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.errors import BadInput
from edgekit.host import detect
from edgekit.plan.make import decided, make_plan
from edgekit.plan.plan import Plan

ROWS = {
    "text-classification": [{"text": f"row {number}", "label": "ab"[number % 2]} for number in range(8)],
    "text-generation": [{"text": f"row {number}"} for number in range(8)],
}
STEP = {
    "text-classification": '[[compress]]\nmethod = "distill"\nlayers = 1\n',
    "text-generation": '[[compress]]\nmethod = "drop-blocks"\nlayers = 1\n',
}
TARGETS = ["x86-vnni", "arm64-dotprod"]


def planned(folder: Path, task: str, steps: int = 0, targets: list[str] = TARGETS, tail: str = "") -> Plan:
    """The plan of a recipe with `steps` compression steps, rows beside it."""
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(
            "".join(json.dumps({**row, "text": f"{split} {row['text']}"}) + "\n" for row in ROWS[task])
        )
    data = "".join(f'{split} = "{split}.jsonl"\n' for split in ("train", "validation", "test"))
    text = f'schema = 1\ntask = "{task}"\n[model.new]\nlayers = 3\n[data]\n{data}{STEP[task] * min(steps, 1)}'
    if steps > 1:
        text += '[[compress]]\nmethod = "prune-unstructured"\nsparsity = 0.5\n' * (steps - 1)
    (folder / "mine.toml").write_text(text + tail)
    return make_plan(str(folder / "mine.toml"), targets, detect())


@pytest.mark.parametrize("task", sorted(ROWS))
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_each_stage_comes_once_after_what_it_reads(tmp_path: Path, task: str, steps: int) -> None:
    plan = planned(tmp_path, task, steps)
    stages = plan.stages()
    keys = [stage.key for stage in stages]
    assert len(set(keys)) == len(keys)
    for position, stage in enumerate(stages):
        assert {upstream.key for upstream in stage.inputs.values()} <= set(keys[:position])
    assert len(plan.compressed) == steps and keys.count(plan.original.key) == 1
    for item in plan.targets:
        assert set(keys) >= {stage.key for stage in plan.stages(item)}


@pytest.mark.parametrize(
    ("task", "steps", "variants"),
    [
        ("text-classification", 0, ["ort-fp32", "ort-int8-stock", "bundle"]),
        ("text-classification", 1, ["ort-fp32", "ort-int8-stock", "after-0-none", "bundle"]),
        ("text-classification", 2, ["ort-fp32", "ort-int8-stock", "after-0-none", "after-1-distill", "bundle"]),
        ("text-generation", 0, ["ort-fp32", "bundle"]),
        ("text-generation", 1, ["ort-fp32", "after-0-none", "bundle"]),
        ("text-generation", 2, ["ort-fp32", "after-0-none", "after-1-drop-blocks", "bundle"]),
    ],
)
def test_variants(tmp_path: Path, task: str, steps: int, variants: list[str]) -> None:
    for item in planned(tmp_path, task, steps).targets:
        assert list(item.variants) == variants
        assert item.audit.inputs["quantized"] is item.variants["bundle"].model


@pytest.mark.parametrize("task", sorted(ROWS))
def test_targets_share_what_does_not_depend_on_them(tmp_path: Path, task: str) -> None:
    one, other = (
        {stage.name: stage.key for stage in plan.stages()} for plan in (planned(tmp_path, task, 1, [name]) for name in TARGETS)
    )
    lowered = {"quantize", "audit", "score"} if task == "text-classification" else {"audit"}
    differing = {name for name in one if one[name] != other[name]}
    assert differing <= lowered and "audit" in differing


@pytest.mark.parametrize("task", sorted(ROWS))
def test_the_same_files_make_the_same_keys_and_a_changed_row_others(tmp_path: Path, task: str) -> None:
    first, again = (planned(tmp_path, task).original.key for _ in range(2))
    assert first == again
    ROWS[task].append({**ROWS[task][0], "text": "one more"})
    try:
        assert planned(tmp_path, task).original.key != first
    finally:
        ROWS[task].pop()


def test_what_one_kind_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="only a language model has a cache"):
        planned(tmp_path, "text-classification", tail='[quantize]\nformat = "int8-weights"\ncache = "int8"\n')
    with pytest.raises(BadInput, match="a language model takes"):
        planned(tmp_path, "text-generation", tail='[quantize]\nformat = "int8"\n')


@pytest.mark.parametrize(
    ("format_", "taken"), [("int8", "int8-weights"), ("float32", "float32"), ("int4-weights", "int4-weights")]
)
def test_a_language_model_has_the_targets_own_format_where_there_is_one_for_it(
    tmp_path: Path, format_: str, taken: str
) -> None:
    target = Path("targets/x86-vnni.toml").read_text().replace('name = "x86-vnni"', 'name = "own"')
    (tmp_path / "own.toml").write_text(target[: target.index("[quantize]")] + f'[quantize]\nformat = "{format_}"\n')
    plan = planned(tmp_path, "text-generation", targets=[str(tmp_path / "own.toml")])
    assert decided(plan.recipe, plan.targets[0].target)["format"]["value"] == taken


def test_a_language_model_takes_no_format_that_its_gpu_has_no_form_of(tmp_path: Path) -> None:
    target = Path("targets/cuda.toml").read_text().replace('name = "cuda"', 'name = "own"')
    (tmp_path / "own.toml").write_text(target[: target.index("[quantize]")] + '[quantize]\nformat = "float32"\n')
    with pytest.raises(BadInput) as caught:
        planned(tmp_path, "text-generation", targets=[str(tmp_path / "own.toml")])
    assert caught.value.faults[0].startswith('own, quantize, format = "float32": a language model takes')
