"""What a search draws: recipes that can be parsed, with the chains that are known to be good among them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.compress.registry import find_method
from edgekit.config.quantize import Int8, WeightOnly
from edgekit.config.recipe import Recipe
from edgekit.config.search import Choice, Range, Reals
from edgekit.config.toml import load_toml
from edgekit.models.facts import ModelFacts
from edgekit.plan.recipes import load_recipe, recipe_model
from edgekit.runtime.reader import Reads
from edgekit.tuner.front import Bounds, dominates, front
from edgekit.tuner.results import recipe_text
from edgekit.tuner.space import NOTHING, Space, Value, drawn_recipe, place_steps, shortened, space_of, untrained, values_of
from edgekit.tuner.starts import begun_with, measured_chains
from edgekit.tuner.trial import Rung, keeps_up, recipe_key, rungs_of

MINILM = ModelFacts(
    "minilm", "bert", layers=6, hidden_size=384, heads=12, kv_heads=12, intermediate_size=1536, tokenizer="WordPiece",
    vocabulary={str(number): number for number in range(30522)},
)  # fmt: skip


def around(name: str) -> tuple[Space, Recipe, Path]:
    _, path, recipe = load_recipe(name)
    return (
        space_of(recipe, MINILM, Int8(), measured_chains(MINILM, recipe.task, bf16=False), bf16=False),
        recipe,
        path,
    )


def at_random(seed: int) -> object:
    chance = random.Random(seed)

    def draw(name: str, one: Range) -> Value:
        if isinstance(one, Choice):
            return chance.choice(one.values)
        low, high = one.ends
        return chance.uniform(low, high) if isinstance(one, Reals) else chance.randint(int(low), int(high))

    return draw


@pytest.mark.parametrize("name", ["clinc150", "stsb", "squad", "wnut17"])
def test_the_shipped_recipe_lies_in_the_space_around_it(name: str) -> None:
    space, recipe, _ = around(name)
    values = values_of(space, recipe.compress)
    assert values is not None
    drawn = drawn_recipe(space, recipe, lambda name, one: values[name])
    assert [step.model_dump() for step in drawn.compress] == [step.model_dump() for step in recipe.compress]
    written = values_of(space, None)
    assert written is not None
    assert drawn_recipe(space, recipe, lambda name, one: written[name]).compress == recipe.compress


def test_of_a_recipe_without_steps_every_draw_is_of_steps() -> None:
    """Half of the draws would be its own steps, none, of which there is nothing to learn."""
    _, _, recipe = load_recipe("clinc150")
    bare = recipe.model_copy(update={"compress": []})
    space = space_of(bare, MINILM, Int8(), [], bf16=False)
    names: list[str] = []
    drawn_recipe(space, bare, lambda name, one: names.append(name) or at_random(1)(name, one))  # type: ignore[func-returns-value, operator]
    assert "chain" not in names and {"student", "structure", "recovery", "tokens", "rounding"} <= set(names)
    values = values_of(space, None)
    assert values is not None and values == values_of(space, ())
    assert drawn_recipe(space, bare, lambda name, one: values[name]).compress == []


def test_proven_chains_are_where_a_search_starts() -> None:
    space, recipe, _ = around("stsb")
    placed = [place_steps(space, chain) for chain in measured_chains(MINILM, recipe.task, bf16=False)]
    assert [None if one is None else {place: step.method for place, step in one.items()} for one in placed] == [
        {"student": "distill", "structure": "prune-structured", "recovery": "distill"},
        {"student": "distill"}, {"structure": "prune-oneshot", "recovery": "distill"}, {"structure": "prune-oneshot"}, {},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["clinc150", "stsb", "squad", "wnut17"])
def test_from_the_plain_model_a_search_begins_with_what_came_furthest_on_its_task(name: str) -> None:
    """Steps that were measured, with the settings that no search draws; then what came far on several tasks."""
    _, _, shipped = load_recipe(name)
    bare = shipped.model_copy(update={"compress": []})
    starts = measured_chains(MINILM, bare.task, bf16=True, texts=bare.data.unlabelled is not None)
    space = space_of(bare, MINILM, Int8(), starts, bf16=True)
    begun = [drawn_recipe(space, bare, lambda one, _, of=values: of[one]) for values in begun_with(space, bare, starts)]
    assert begun[0].compress == [], "the number format alone costs seconds"
    assert [step.model_dump() for step in begun[1].compress] == [step.model_dump() for step in shipped.compress]
    assert begun[2].compress != begun[1].compress
    assert len({recipe_key(one) for one in begun}) == len(begun) == 5


def test_what_a_model_has_not_is_left_out_of_what_a_search_begins_with() -> None:
    other = replace(MINILM, tokenizer="BPE", layers=12)
    chain = measured_chains(other, "text-classification", bf16=False)[0]
    assert [step.method for step in chain] == ["distill", "prune-structured", "distill"]
    assert chain[0].model_dump()["layers"] == 4 and not chain[0].model_dump()["unlabelled"], "no text without labels"
    assert measured_chains(MINILM, "text-regression", bf16=False) == measured_chains(MINILM, "stsb", bf16=False), (
        "nothing was measured on its task"
    )


def test_whatever_is_drawn_is_a_recipe_that_its_file_says_again(tmp_path: Path) -> None:
    """Or is refused by the types of its settings, which the sampler learns."""
    space, recipe, path = around("clinc150")
    for seed in range(25):
        drawn = drawn_recipe(space, recipe, at_random(seed))  # type: ignore[arg-type]
        file = tmp_path / "point.toml"
        file.write_text(recipe_text(drawn, path.parent, tmp_path, Bounds(smaller=8)), encoding="utf-8")
        again = load_toml(file, recipe_model())
        assert again.model_dump(exclude={"accept"}) == drawn.model_dump(exclude={"accept"})
        assert again.accept.max_size_mb == 8 and again.accept.max_quality_drop == recipe.accept.max_quality_drop


def test_a_recipe_in_another_folder_finds_its_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.csv").write_text("text,label\n")
    recipe = recipe_model().model_validate(
        {
            "schema": 1, "task": "text-classification", "model": {"id": "model"},
            "data": {"file": {"path": "rows.csv", "format": "csv"}, "unlabelled": ["rows.csv#text", "hub:owner/name#x"]},
        }
    )  # fmt: skip
    text = recipe_text(recipe, tmp_path, tmp_path / "study", Bounds())
    assert (
        'id = "../model"' in text
        and 'path = "../rows.csv"' in text
        and 'unlabelled = ["../rows.csv#text", "hub:owner/name#x"]' in text
    )


def test_a_pattern_of_files_in_folders_is_found_from_another_folder(tmp_path: Path) -> None:
    """As the recipe of a folder of images names them: the points of a search could not be made."""
    (tmp_path / "images" / "cats").mkdir(parents=True)
    recipe = recipe_model().model_validate(
        {"schema": 1, "task": "image-classification", "model": {"id": "hub/name"}, "data": {"file": "images/*/*.png"}}
    )
    assert 'file = "../images/*/*.png"' in recipe_text(recipe, tmp_path, tmp_path / "study", Bounds())


def test_what_a_method_needs_of_the_number_format_is_taken() -> None:
    space, recipe, _ = around("clinc150")
    drawn = [drawn_recipe(space, recipe, at_random(seed)) for seed in range(200)]  # type: ignore[arg-type]
    trained = [one.quantize for one in drawn if one.compress and one.compress[-1].method == "quantize-aware"]
    assert trained and all(isinstance(one, Int8) and one.mode == "static" and one.smooth is None for one in trained)


def test_a_student_is_not_taken_for_recovery() -> None:
    space, recipe, _ = around("clinc150")
    placed = place_steps(space, recipe.compress)
    assert placed is not None and [(place, step.method) for place, step in placed.items()] == [
        ("student", "distill"), ("rows", "prune-vocabulary"), ("structure", "prune-structured"), ("recovery", "distill"),
    ]  # fmt: skip
    assert space.kept["student", "distill"]["unlabelled"] == 13000, "what is not drawn stays as the recipe says it"
    assert place_steps(space, [recipe.compress[3], recipe.compress[0]]) is None, "tokens go last"


def test_lengths_of_training() -> None:
    _, recipe, _ = around("clinc150")
    assert [[step.epochs for step in short.compress if "epochs" in type(step).model_fields] for _, short in rungs_of(recipe)] == [  # type: ignore[attr-defined]
        [1, 1], [3, 3], [8, 10],
    ]  # fmt: skip
    untrained = recipe.model_copy(update={"compress": [recipe.compress[1]]})
    assert rungs_of(untrained) == [(1.0, untrained)] and shortened(untrained, 0.1) == untrained


def test_a_third_goes_on() -> None:
    def rung(quality: float) -> Rung:
        return Rung(1 / 9, quality, 0.5, 5.0, 1, 1)

    others = [rung(0.1 * number).document() for number in range(1, 9)]
    assert [keeps_up(rung(quality), others) for quality in (0.95, 0.65, 0.55, 0.15)] == [True, True, False, False]
    assert keeps_up(rung(0.5), []), "the first has nobody to keep up with"
    assert keeps_up(Rung(1 / 9, 0.01, 0.01, 5.0, 1, 1), others), "nothing is as fast"
    assert keeps_up(rung(0.01), [{**one, "share": 1.0} for one in others]), "another length of training is not compared"


def test_fronts() -> None:
    values = [(0.9, 1.0, 1.0), (0.8, 0.5, 1.0), (0.8, 0.6, 1.0), (0.9, 1.0, 1.0), (0.7, 0.5, 0.9)]
    assert front(values) == [0, 1, 4] and dominates(values[1], values[2]) and not dominates(values[0], values[3])
    over = Bounds(lose=0.01, faster=4, smaller=8).over(0.02, 5, 6)
    assert over == {"lose": pytest.approx(1), "faster": pytest.approx(-0.2), "smaller": pytest.approx(-0.25)}
    assert set(Bounds(faster=4).over(0, None, 6)) == set(), "what was not timed is not judged"


def test_nothing_is_offered_that_the_model_has_not() -> None:
    space = space_of(load_recipe("intents")[2], ModelFacts(layers=1), Int8(), [], bf16=False)
    assert "tokens" not in space.places and "distill" not in space.places.get("student", {}) and NOTHING not in space.places


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([], None),
        ([{"method": "prune-structured", "keep": 0.5}], None),
        (
            [{"method": "distill", "layers": 2}, {"method": "prune-structured", "keep": 0.5}, {"method": "distill"}],
            ["prune-structured"] * 2,
        ),
        ([{"method": "distill", "take": [0, 2, 3]}], ["prune-structured"]),
        ([{"method": "distill", "width": 64}], None),
        ([{"method": "distill"}, {"method": "prune-learned", "keep": 0.5}], None),
        ([{"method": "prune-oneshot", "speedup": 2.0}, {"method": "quantize-aware"}], ["prune-oneshot"]),
    ],
)
def test_steps_of_the_same_shapes_without_training(steps: list[dict[str, Any]], left: list[str] | None) -> None:
    chain = [find_method(step["method"]).settings.model_validate(step) for step in steps]
    shaped = untrained(load_recipe("intents")[2].model_copy(update={"compress": chain}))
    assert (None if shaped is None else [step.method for step in shaped.compress]) == left


@pytest.mark.parametrize(("reads", "task"), [("image", "image-classification"), ("sound", "audio-classification")])
def test_of_images_and_sounds_nothing_of_texts_is_drawn(reads: Reads, task: str) -> None:
    """Each such draw would be refused by the plan."""
    _, _, recipe = load_recipe("clinc150")
    bare = recipe.model_copy(update={"compress": [], "task": task})
    space = space_of(bare, ModelFacts(layers=4, vocabulary=MINILM.vocabulary), Int8(), [], bf16=False)
    drawn = {method for offered in space.places.values() for method in offered}
    assert "distill" in drawn and all(reads in find_method(method).reads for method in drawn)
    assert not any("augment" in offered.get("distill", ()) for offered in space.places.values())


@pytest.mark.parametrize(
    ("data", "why"),
    [({"builtin": "texts"}, "give rows (--data FILE)"), ({"file": "rows.csv", "answers": "original"}, "give rows with labels")],
)
def test_without_rows_every_number_format_is_tried_once_and_no_step_is_drawn(data: dict[str, Any], why: str) -> None:
    """Each step would be refused by the plan: of 142 trials of such a model 68 were."""
    given = {"schema": 1, "task": "text-classification", "model": {"id": "owner/name"}, "data": data}
    bare = recipe_model().model_validate(given)
    space = space_of(bare, MINILM, Int8(), measured_chains(MINILM, bare.task, bf16=False), bf16=False)
    assert not space.places and any(why in reason for reason in space.left_out)
    assert {"distill", "prune-oneshot"} <= {name for names in space.left_out.values() for name in names}
    begun = begun_with(space, bare, measured_chains(MINILM, bare.task, bf16=False))
    assert begun == space.formats and len(begun) == len({str(one) for one in begun}) == 16


def test_layers_that_keep_their_shape_are_drawn_no_step_that_changes_it() -> None:
    recipe = load_recipe("clinc150")[2].model_copy(update={"compress": []})
    space = space_of(recipe, replace(MINILM, architecture="albert"), Int8(), [], bf16=False)
    assert not {"student", "structure"} & set(space.places) and "recovery" in space.places and space.formats is None
    assert [names for why, names in space.left_out.items() if "albert keep theirs" in why]


def test_a_method_is_drawn_with_the_number_format_that_it_needs() -> None:
    """Of 110 draws around a shipped recipe 70 were refused, as ranges that are learned are of static INT8 alone."""
    space, recipe, _ = around("intents")
    aware = [drawn for seed in range(60) if (drawn := drawn_recipe(space, recipe, at_random(seed))).compress  # type: ignore[arg-type]
             and drawn.compress[-1].method == "quantize-aware"]  # fmt: skip
    assert aware and all(isinstance(drawn.quantize, Int8) and drawn.quantize.mode == "static" for drawn in aware)
    weights = space_of(recipe, MINILM, WeightOnly(format="int8-weights"), [], bf16=False)
    assert "rounding" not in weights.places and ["quantize-aware"] in weights.left_out.values()
