"""The contract of every compression method there is."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter

from edgekit.compress import methods as package
from edgekit.compress.method import PLACES, Method, StepContext, Work
from edgekit.compress.registry import find_method, method_names
from edgekit.config.quantize import Quantize
from edgekit.config.recipe import MethodSettings, TrainingSettings
from edgekit.config.search import Choice, Integers, Reals
from edgekit.models.facts import ModelFacts
from edgekit.plan.recipes import recipe_model

LEAST: dict[str, dict[str, Any]] = {
    "drop-blocks": {"layers": 1},
    "prune-gradual": {"sparsity": 0.5},
    "prune-learned": {"keep": 0.5},
    "prune-oneshot": {"keep": 0.5},
    "prune-structured": {"keep": 0.5},
    "prune-unstructured": {"pattern": "2:4"},
    "prune-width": {"neurons": 1},
}
"""What each method's table has to say at least."""


def least(name: str) -> MethodSettings:
    settings: MethodSettings = find_method(name).settings.model_validate({"method": name, **LEAST.get(name, {})})
    return settings


@pytest.mark.parametrize("name", method_names())
def test_every_method_keeps_the_contract(name: str) -> None:
    method = find_method(name)
    assert method.name == name and method.settings.model_fields["method"].annotation == Literal[name]
    assert (Path(package.__path__[0]) / f"{name.replace('-', '_')}.py").is_file()
    assert method.serves and set(method.serves) <= {"encoder", "decoder"} and method.version >= 1
    assert method.title.endswith(".") and name in str(recipe_model().model_json_schema())
    assert set(method.checkpoints) <= set(method.settings.model_fields)


@pytest.mark.parametrize("name", method_names())
def test_every_setting_says_what_it_is(name: str) -> None:
    fields = find_method(name).settings.model_fields
    silent = [field for field, info in fields.items() if not info.description and field != "method"]
    assert silent == []


@pytest.mark.parametrize("name", method_names())
def test_nothing_is_a_fault_of_a_model_of_which_nothing_is_known(name: str) -> None:
    method, settings = find_method(name), least(name)
    recipe = recipe_model().model_validate(
        {
            "schema": 1, "task": "text-generation" if method.serves == ("decoder",) else "text-classification",
            "model": {"id": "owner/name"}, "data": {"builtin": "intents"}, "compress": [settings],
        }
    )  # fmt: skip
    assert method.check(settings, StepContext(recipe)) == []
    facts = method.transform(settings, ModelFacts(), {})
    assert isinstance(facts, ModelFacts) and facts.checkpoint is None
    assert facts.pruned == (name.startswith(("prune-", "drop-")) and name != "prune-vocabulary")


MINILM = ModelFacts(
    "minilm", "bert", layers=6, hidden_size=384, heads=12, kv_heads=12, intermediate_size=1536, tokenizer="WordPiece",
    vocabulary={str(number): number for number in range(30522)},
)  # fmt: skip
"""A model of which all is known that ranges depend on."""


@pytest.mark.parametrize("name", method_names())
def test_what_a_search_may_draw_is_what_a_recipe_may_say(name: str) -> None:
    method = find_method(name)
    assert set(method.search) <= set(PLACES)
    for search in method.search.values():
        search(ModelFacts())  # of which nothing is known
        ranges = search(MINILM)
        assert ranges is not None
        for drawn in product(*(one.ends for one in ranges.values())):
            settings = method.settings.model_validate({"method": name, **dict(zip(ranges, drawn, strict=True))})
            recipe = recipe_model().model_validate(
                {
                    "schema": 1, "task": "text-generation" if method.serves == ("decoder",) else "text-classification",
                    "model": {"id": "owner/name"}, "data": {"builtin": "intents"}, "compress": [settings],
                }
            )  # fmt: skip
            assert method.check(settings, StepContext(recipe, model=MINILM, original=MINILM, dense=MINILM)) == [], drawn
            assert method.transform(settings, MINILM, {}) is not None


def test_nearly_every_method_is_searched() -> None:
    """Zeros among single weights take as much room and time in a bundle as other numbers."""
    assert [name for name in method_names() if not find_method(name).search] == ["prune-unstructured"]


@pytest.mark.parametrize("form", ["int8", "int8-weights", "int4-weights", "float16", "bf16", "float32"])
def test_what_a_search_may_draw_of_a_number_format(form: str) -> None:
    parser: TypeAdapter[Quantize] = TypeAdapter(Quantize)
    ranges = parser.validate_python({"format": form}).search
    for drawn in product(*(one.ends for one in ranges.values())):
        parser.validate_python({"format": form, **dict(zip(ranges, drawn, strict=True))})
    assert bool(ranges) == form.startswith("int")


def test_ranges_that_hold_nothing() -> None:
    for make in (
        lambda: Integers(2, 1),
        lambda: Reals(0, 1, log=True),
        lambda: Reals(0, float("nan")),
        lambda: Choice(()),
        lambda: Choice((1, 1)),
    ):
        with pytest.raises(ValueError, match=r"no range|a choice is"):
            make()


def test_training_methods_share_their_settings() -> None:
    trained = {name: least(name) for name in method_names() if issubclass(find_method(name).settings, TrainingSettings)}
    assert {name: (one.epochs, one.batch, one.learning_rate) for name, one in trained.items() if isinstance(one, TrainingSettings)} == {
        "distill": (10, 32, 3e-4), "distill-decoder": (1, 8, 3e-4), "prune-gradual": (10, 32, 3e-4),
    }  # fmt: skip


def test_a_method_that_breaks_the_contract_is_not_made() -> None:
    class Other(MethodSettings):
        """Something else."""

        method: Literal["other"]

    def run(work: Work, settings: Other) -> dict[str, Any]:
        return {}

    sound: dict[str, Any] = {"name": "other", "version": 1, "settings": Other, "serves": ("encoder",), "run": run}
    assert Method(**sound).title == "Something else."
    breaches: list[dict[str, Any]] = [
        {"name": "mine"}, {"version": 0}, {"serves": ()}, {"serves": ("encoders",)}, {"settings": MethodSettings}, {"checkpoints": ("teacher",)},
        {"search": {"last": lambda model: {}}},
    ]  # fmt: skip
    for breach in breaches:
        with pytest.raises(ValueError, match=r"method '(other|mine)'"):
            Method(**{**sound, **breach})

    class Elsewhere(MethodSettings):
        method: Literal["../other"]

    with pytest.raises(ValueError, match="lower-case letters"):
        Method(**{**sound, "name": "../other", "settings": Elsewhere})
