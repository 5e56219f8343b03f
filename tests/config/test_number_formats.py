"""[quantize] of recipes and targets: one record for each format, and a key of another format is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter

from edgekit.config.quantize import Bfloat16, Float16, Float32, Int8, Quantize, RecipeQuantize, WeightOnly, own_settings
from edgekit.config.shipped import shipped_file
from edgekit.config.target import Target, load_target, recorded_target, target_names
from edgekit.config.toml import Strict, load_toml, parse
from edgekit.errors import BadInput
from edgekit.plan.recipes import load_recipe, recipe_model

HEAD = 'schema = 1\ntask = "text-classification"\n[model]\nid = "somewhere/model"\n[data]\nbuiltin = "intents"\n'


class Holder(Strict):
    """A file with a [quantize] table and nothing else."""

    quantize: RecipeQuantize | None = None


def read(table: dict[str, object]) -> Quantize:
    found = parse({"quantize": table}, Holder, where="here").quantize
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ({}, Int8), ({"mode": "static", "smooth": 0.5}, Int8), ({"format": "int8", "mixed": True}, Int8),
        ({"format": "int8-weights", "cache": "int8"}, WeightOnly), ({"format": "int4-weights", "rounding": "gptq"}, WeightOnly),
        ({"format": "float16"}, Float16), ({"format": "bf16"}, Bfloat16), ({"format": "float32"}, Float32),
    ],
)  # fmt: skip
def test_each_format_is_read_into_its_record(table: dict[str, object], kind: type) -> None:
    found = read(table)
    assert type(found) is kind and found.format == table.get("format", "int8")
    assert found.model_fields_set == set(table)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"format": "int4-weights", "smooth": 0.5}, 'smooth: goes with format = "int8", not with "int4-weights"; leave'),
        ({"format": "float32", "correct_bias": True}, 'goes with format = "int8", "int8-weights" or "int4-weights", not with "float32"'),
        ({"format": "float16", "mixed": True}, 'quantize.mixed: goes with format = "int8", "int8-weights" or "int4-weights", not with'),
        ({"cache": "int8"}, 'quantize.cache: goes with format = "int8-weights" or "int4-weights", not with "int8"; leave it out'),
        ({"format": "int8-weights", "mode": "static"}, 'quantize.mode: goes with format = "int8"'),
        ({"accuracy_level": 0}, 'accuracy_level goes with format = "int8-weights" or "int4-weights", not with "int8"; leave it out'),
        ({"mode": "measure", "mixed": True}, 'set mode = "dynamic" or "static"'),
        ({"format": "int8-weights", "block": 16}, "32"),
        ({"smooth": 1.2}, "less than or equal to 1"),
        ({"format": "int8-weights", "eight_bits": 0.2}, 'the share of the weights that "int4-weights" leaves in 8 bits'),
        ({"format": "int4-weights", "eight_bits": 1.0}, "less than 1"),
        ({"format": "int9"}, "quantize: unknown format 'int9'; did you mean 'int8'? (known: int8, int8-weights, int4-weights, float16"),
        ({"format": "int4-weights", "roundin": "gptq"}, "quantize.roundin: unknown key; did you mean 'rounding'?"),
        ({"smoth": 0.5}, "quantize.smoth: unknown key; did you mean 'smooth'?"),
        ({"format": "float16", "zzz": 1}, "quantize.zzz: unknown key; known here: accuracy_level, format"),
        ({"format": 8}, "unknown format '8'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_by_name(table: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput) as fault:
        read(table)
    assert says in fault.value.text()


def test_a_value_that_is_no_table_is_refused() -> None:
    with pytest.raises(BadInput, match="1 fault") as fault:
        parse({"quantize": 4}, Holder, where="here")
    assert "quantize: a table with a key `format` is needed here" in fault.value.text()


def test_faults_name_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + '[quantize]\nformat = "int4-weights"\nmode = "static"\nblock = 48\n')
    with pytest.raises(BadInput, match="2 faults") as fault:
        load_recipe(str(path))
    assert "line 9, quantize.mode: goes with" in fault.value.text()
    assert "line 10, quantize.block: input should be 32, 64 or 128 (given: 48)" in fault.value.text()


def test_a_key_of_another_method_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + '[[compress]]\nmethod = "prune-vocabulary"\ntemperature = 3.0\n')
    with pytest.raises(BadInput) as fault:
        load_recipe(str(path))
    assert "line 9, compress.0.prune-vocabulary.temperature: goes with method = " in fault.value.text()
    assert '"distill"' in fault.value.text()


@pytest.mark.parametrize("name", target_names())
def test_every_target_may_say_the_accuracy_level_of_recipes(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    text = "\n".join(line for line in shipped_file("targets", name).read_text().splitlines() if "accuracy_level =" not in line)
    path.write_text(text.replace("[quantize]\n", "[quantize]\naccuracy_level = 0\n"))
    target = load_toml(path, Target)
    chosen = target.chosen(WeightOnly(format="int8-weights"))
    assert (
        chosen.accuracy_level == 0
        and "accuracy_level" not in RecipeTable.validate_python({"format": "int8-weights"}).model_fields_set
    )


RecipeTable: TypeAdapter[WeightOnly] = TypeAdapter(RecipeQuantize)


def test_settings_that_are_not_defaults_tell_formats_apart() -> None:
    """Stages are keyed by what is not default: no two formats may look alike."""
    every = [Int8(), Float16(format="float16"), Bfloat16(format="bf16"), Float32(format="float32")]
    every += [WeightOnly(format="int8-weights"), WeightOnly(format="int4-weights")]
    keys = [str(sorted(record.model_dump(exclude_defaults=True).items())) for record in every]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", target_names())
def test_a_result_of_before_is_read(name: str) -> None:
    """A target as results held it when one flat record had the settings of every format."""
    target = load_target(name)
    flat = {"format": "int8", "mode": "dynamic", "activations": "uint8", "weights": "int8", "per_channel": True, "reduce_range": False,
            "embeddings": "int8", "block": 32, "rounding": "clip", "accuracy_level": 4, "cache": "float32", "smooth": None,
            "correct_bias": False, "mixed": False}  # fmt: skip
    document = target.model_dump(mode="json", by_alias=True)
    assert recorded_target(document) == target
    before = {**document, "quantize": {**flat, **target.quantize.model_dump()}}
    assert recorded_target(before) == target


def test_own_settings_leave_an_unknown_format_alone() -> None:
    assert own_settings({"format": "int9", "mode": "x"}) == {"format": "int9", "mode": "x"}
    assert own_settings({"mode": "static", "block": 32}) == {"mode": "static"}


def test_the_schema_has_one_record_a_format() -> None:
    for schema in (Target.model_json_schema(), recipe_model().model_json_schema()):
        for name in ("Int8", "WeightOnly", "Float16", "Bfloat16", "Float32"):
            record = schema["$defs"][name]
            assert record["additionalProperties"] is False and record["properties"]["format"]["description"]
        assert (
            "block" not in schema["$defs"]["Int8"]["properties"] and "mode" not in schema["$defs"]["WeightOnly"]["properties"]
        )
    assert schema["$defs"]["WeightOnly"]["properties"]["format"]["enum"] == list(
        get_args(WeightOnly.model_fields["format"].annotation)
    )
