"""The contract of a compression method: what it is asked by, what it needs, what it leaves, and the function that does it.

A method is one `Method`, made in one file: a module of `edgekit.compress.methods` that names it `METHOD`, or any installed package
that names it in the entry-point group `edgekit.methods`. The plan folds `check` and `transform` over a recipe's steps before
anything runs; `run` reads checkpoints and fills `work.out` with one. torch is imported inside `run` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeAlias, TypeVar, get_args

from edgekit.config.quantize import Quantize
from edgekit.config.recipe import MethodSettings, Recipe
from edgekit.config.search import Ranges
from edgekit.config.target import Target
from edgekit.models.facts import ModelFacts
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject, JsonValue
from edgekit.runtime.reader import Reads
from edgekit.tasks import Kind, Task, find_task

__all__ = ["PLACES", "Method", "Place", "Search", "StepContext", "Work", "share_left"]

S = TypeVar("S", bound=MethodSettings)
NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
"""Names of methods; results of a method lie in a folder of its name."""
Place: TypeAlias = Literal["student", "rows", "structure", "recovery", "tokens", "rounding"]
"""Where a step stands in a chain: a smaller model is begun, tokens share rows of the embedding, structures go, what that cost is taught back,
tokens go, rounding is made easier."""
PLACES: tuple[Place, ...] = get_args(Place)
"""In their order. A chain that is searched has at most one step in each."""
Search: TypeAlias = Callable[[ModelFacts], Ranges | None]
"""Facts of the uncompressed model -> what each searched setting may be drawn from, on its own; None where the method does nothing for it."""


@dataclass(frozen=True)
class Work:
    """One method's inputs and the folder it fills."""

    source: Path
    """Checkpoint to compress."""
    original: Path
    """Checkpoint of the uncompressed model: the teacher."""
    dense: Path
    """Checkpoint from before the first pruning; the original where nothing was pruned yet."""
    rows: Path
    """Rows artifact: train, validation and test as JSON lines."""
    out: Path
    """Empty folder for the compressed checkpoint."""
    scratch: Path
    """Folder that outlives a killed run of this very stage; removed once the stage is done."""
    task: str
    max_length: int
    seed: int
    progress: Progress
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    """Folder or hub id of each checkpoint that the settings name, by its name in the recipe."""

    def checkpoint(self, name: str) -> str:
        """Folder or hub id of the checkpoint that the recipe calls `name`."""
        return self.checkpoints.get(name, name)


@dataclass(frozen=True)
class StepContext:
    """All that a step can be checked against before anything runs."""

    recipe: Recipe
    targets: Sequence[Target] = ()
    model: ModelFacts = field(default_factory=ModelFacts)
    """The model that the step compresses, as the steps before it leave it."""
    original: ModelFacts = field(default_factory=ModelFacts)
    """The uncompressed model."""
    dense: ModelFacts = field(default_factory=ModelFacts)
    """The model from before the first pruning."""
    checkpoints: Mapping[str, ModelFacts] = field(default_factory=dict)
    """Each checkpoint that steps name, by its name in the recipe."""
    number: int = 1
    """Which step of the recipe it is, counted from 1."""
    pairs: bool = False
    """Whether rows have a second text."""
    alone: bool = False
    """Whether rows have no answers, and the original's are what they are compared with."""

    @property
    def task(self) -> Task:
        """The recipe's task."""
        return find_task(self.recipe.task)

    @property
    def last(self) -> bool:
        """Whether no step comes after it."""
        return self.number >= len(self.recipe.compress)

    def checkpoint(self, name: str) -> ModelFacts:
        """What is known of the checkpoint that the recipe calls `name`."""
        return self.checkpoints.get(name, ModelFacts(name))

    def quantize(self, target: Target) -> Quantize:
        """How numbers are stored on `target` in the end."""
        return self.recipe.quantize or target.quantize


def no_faults(settings: MethodSettings, context: StepContext) -> list[str]:
    """Nothing about the step can be told before it runs."""
    return []


def unchanged(settings: MethodSettings, model: ModelFacts, checkpoints: Mapping[str, ModelFacts]) -> ModelFacts:
    """The step changes weights alone."""
    return model


def all_left(settings: MethodSettings, model: ModelFacts) -> tuple[float, float]:
    """The step changes no shape."""
    return 1.0, 1.0


def share_left(asked: int | None, have: int | None) -> float:
    """What share of `have` stays where `asked` are; all where either is not said."""
    return 1.0 if asked is None or not have else min(1.0, asked / have)


@dataclass(frozen=True)
class Method(Generic[S]):
    """One compression method.

    Raises:
        ValueError: a name that is no folder's name or that its settings do not carry in `method`, an unknown kind of model or none, a
            version below 1, or `checkpoints` that are no settings.
    """

    name: str
    """Its name in recipes."""
    version: int
    """A number to raise whenever the result of the same settings changes: it is part of the stage's key."""
    settings: type[S]
    """What its table in a recipe may say: `MethodSettings` with `method: Literal[name]`."""
    serves: tuple[Kind, ...]
    """Which models it compresses."""
    run: Callable[[Work, S], JsonObject]
    """Fills `work.out`; returns metrics as JSON can hold them, which must not depend on how long anything took."""
    check: Callable[[S, StepContext], list[str]] = no_faults
    """What cannot work, each fault in words that begin with the setting or the model; what is not known is no fault."""
    transform: Callable[[S, ModelFacts, Mapping[str, ModelFacts]], ModelFacts] = unchanged
    """(settings, facts before, facts of the checkpoints that steps name) -> facts of what `run` leaves; what cannot be told before
    it runs becomes None. It is called on faulty settings too."""
    spread: bool = False
    """Whether all processes of an `accelerate launch` work on it together."""
    checkpoints: tuple[str, ...] = ()
    """Settings that name checkpoints (a name, or a list of names): the stage's key holds the digests of these instead."""
    search: Mapping[Place, Search] = field(default_factory=dict)
    """Where in a chain a search may put it, and what it may draw there. Settings that are not drawn keep their defaults. Empty: a search
    leaves the method out."""
    of_texts: tuple[str, ...] = ()
    """What of `search` changes texts, and is not drawn where others are read."""
    number_format: Mapping[str, JsonValue] = field(default_factory=dict)
    """Settings of [quantize] without which it works in no recipe: a search that draws the method takes these, and draws the others."""
    untrained: Callable[[S], Sequence[MethodSettings] | None] | None = None
    """Of a method that trains: the steps that leave a model of the same shapes without training, by which a search knows size and
    speed before anything is trained; None where training decides the shapes."""
    leaves: Callable[[S, ModelFacts], tuple[float, float]] = all_left
    """(settings, facts of the uncompressed model) -> about what share of the layers' multiplications, and of the embedding's numbers, it leaves
    of those that it finds: by these a search tells cost and size of what it has not tried."""
    instead: str = ""
    """What does the like for the other kind of model."""
    reads: tuple[Reads, ...] = ("text",)
    """What the models that it compresses may read."""
    why: str = ""
    """Why it cannot serve the other kind of model, where the names do not tell."""

    def __post_init__(self) -> None:
        if get_args(self.settings.model_fields["method"].annotation) != (self.name,):
            raise ValueError(f"the settings of method {self.name!r} need the field `method: Literal[{self.name!r}]`")
        if not NAME.fullmatch(self.name):
            raise ValueError(f"method {self.name!r} is not named by lower-case letters, digits and dashes")
        if not self.serves or not set(self.serves) <= set(get_args(Kind)) or self.version < 1:
            raise ValueError(f"method {self.name!r} needs a version from 1, and to serve some of {', '.join(get_args(Kind))}")
        unknown = sorted(set(self.checkpoints) - set(self.settings.model_fields))
        if unknown:
            raise ValueError(f"method {self.name!r} has no settings {', '.join(unknown)} that could name checkpoints")
        if not set(self.search) <= set(PLACES):
            raise ValueError(f"method {self.name!r} is searched in places of a chain that are none of {', '.join(PLACES)}")

    @property
    def title(self) -> str:
        """One line on what it does."""
        return (self.settings.__doc__ or "").strip().partition("\n")[0]

    @property
    def trains(self) -> bool:
        """Whether it trains for the `epochs` of its settings, which a search shortens to see sooner what comes of it."""
        return "epochs" in self.settings.model_fields

    def shaping(self, settings: S) -> Sequence[MethodSettings] | None:
        """The steps, none of which trains, that leave a model of the shapes that this one leaves; None where there are none such."""
        if not self.trains:
            return [settings]
        return None if self.untrained is None else self.untrained(settings)

    def named_checkpoints(self, settings: MethodSettings) -> dict[str, list[str]]:
        """Checkpoints that `settings` name, as written in the recipe, by the setting that names them."""
        given = {setting: getattr(settings, setting) for setting in self.checkpoints}
        return {setting: [value] if isinstance(value, str) else list(value) for setting, value in given.items() if value}
