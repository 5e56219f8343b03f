"""A loaded bundle that answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from edgekit.runtime.arguments import a_path, a_switch, a_whole_number, plain
from edgekit.runtime.bundle.contents import check_contents
from edgekit.runtime.bundle.names import MODEL, MODEL_DATA
from edgekit.runtime.bundle.open import Bundle, open_bundle, undisturbed
from edgekit.runtime.bundle.proof import prove
from edgekit.runtime.chip import read_text
from edgekit.runtime.errors import BadInput, CheckFailed, EdgekitError
from edgekit.runtime.generate.flags import SPECULATE, Speculate, parse_speculate
from edgekit.runtime.items import numbered
from edgekit.runtime.joined import Joined, joins
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.many import attempted, each_answered
from edgekit.runtime.processors import Asked, processor
from edgekit.runtime.providers.names import AUTO, CPU
from edgekit.runtime.providers.session import Session, check_chip, check_ids, open_session, own_cores, usable_threads
from edgekit.runtime.reader import Reader, reader_in
from edgekit.runtime.threads import Threads, best_threads, parse_threads
from edgekit.runtime.tokenise import Tokeniser, Window

if TYPE_CHECKING:
    from edgekit.runtime.generate.draft import Draft
    from edgekit.runtime.generate.model import LanguageModel
    from edgekit.runtime.generate.sample import Sampling

__all__ = ["Model", "checked", "load", "opened", "threads_for"]

SESSION_SIZE = 2
"""Times the size of the model's file that a session takes, about: weights are laid out anew for the chip."""
ALONE = (str, bytes, dict, Path)
"""Types of one input, beside arrays of images and sounds; all else is several."""
IMAGE_AXES = 3
TRIED = 8
"""Golden inputs that are answered to find out how many threads are fastest."""
NOTHING: Mapping[str, Any] = {}
ROOM = 64
"""Tokens after which a language model begins anew while that is found out."""


@dataclass(frozen=True)
class Model:
    """Call it with an input (a text, an object for tasks that read several, an image or a sound) for an answer, with a list for a list of answers."""

    bundle: Bundle
    session: Any
    reader: Reader
    """What makes windows of inputs."""
    language: LanguageModel | None = None
    """What makes text, where that is the task: call it for the likeliest answer, or use this for all else."""
    threads: int = 1
    """Threads inside one operator."""
    joined: Joined | None = None
    """How texts of one length share a run; None where each has its own."""

    @overload
    def __call__(
        self, items: str | dict[str, Any], *, top_k: int | None = None, workers: Threads = None, **sampling: Any
    ) -> dict[str, Any]: ...
    @overload
    def __call__(
        self, items: Iterable[Any], *, top_k: int | None = None, workers: Threads = None, **sampling: Any
    ) -> list[dict[str, Any]]: ...
    def __call__(self, items: Any, *, top_k: int | None = None, workers: Threads = None, **sampling: Any) -> Any:
        """The answer to each input, bit for bit the one that it gets alone, as it was scored and timed.

        Dynamic INT8 finds one activation range for a whole run, so each text has its own; where ranges are static, texts of one length share a
        run as soon as that is proved to change no bit and to be faster (`joined`).

        `top_k`: how many labels, or spans, an answer lists; of a language model, from how many tokens to draw. None: as where nothing is said.
        `sampling`: of a language model, fields of `Sampling`: `max_new_tokens`, `temperature`, `top_p`, `min_p`, `seed`, `stop` and so on; those
        that are None are as where nothing is said.
        `workers`: how many cores answer several inputs, in their order, each with a session of its own; "auto": all there are. None: one.

        Raises:
            BadInput: an input that cannot be used, or another argument.
            CheckFailed: the model gave no finite output.
        """
        asked, workers = self.asks(top_k, sampling), parse_threads(workers, name="workers")
        if one_input(items):
            return self._answer(items, asked)
        answers, given = [], self._several(items)
        count = _length(given)
        with closing(self.answers(given, asked, workers)) as found:
            for number, answer in enumerate(found):
                if isinstance(answer, EdgekitError):
                    with numbered(number, count):
                        raise answer
                answers.append(answer)
        if not answers and self.language is None:
            raise BadInput(f"no {self.bundle.manifest.reads} given")
        return answers

    def each(
        self, items: Iterable[Any], *, top_k: int | None = None, workers: Threads = AUTO, **sampling: Any
    ) -> Iterator[dict[str, Any]]:
        """The answers to `items`, in their order, as they are made: of any number of inputs few are in memory at once.

        An input that cannot be used, or that the model fails on, has {"error"} and does not end the others. The rest is as where the model is
        called; `items` is read in the thread that asks for answers.

        Raises:
            BadInput: an argument that cannot be used.
        """
        asked = self.asks(top_k, sampling)
        found = self.answers(self._several(items), asked, workers)

        def answers() -> Iterator[dict[str, Any]]:
            with closing(found):
                for answer in found:
                    yield {"error": answer.text()} if isinstance(answer, EdgekitError) else dict(answer)

        return answers()

    def _several(self, items: object) -> Iterable[Any]:
        """`items`, where they are several inputs.

        Raises:
            BadInput: as `several`; an array whose rows may be the channels of one sound, (channels, n) or (n, channels), or a sound each.
        """
        if self.bundle.manifest.reads == "sound" and isinstance(items, np.ndarray) and items.ndim > 1:
            raise BadInput(
                f"an array of shape {list(items.shape)} may be one sound of several channels, or several sounds",
                fix="give the mean of the channels (array.mean(axis=...)) for one sound, or a list of arrays (n,) for several",
            )
        return several(items)

    def answers(
        self, items: Iterable[Any], asked: int | Sampling, workers: Threads
    ) -> Generator[JsonObject | EdgekitError, None, None]:
        """The answers to `items` in their order, or why there is none. `asked`: what `asks` gives."""
        return each_answered(
            self.crew(workers), lambda model, chunk: model.answer_all(chunk, asked), items, joins=self.joined is not None
        )

    def answer_all(self, items: Sequence[Any], asked: int | Sampling) -> list[JsonObject | EdgekitError]:
        """The answer to each of `items` as it is alone, or why there is none; texts of one length share a run where `joined` proves them."""
        if self.joined is None or len(items) == 1:
            return [attempted(self._answer, item, asked) for item in items]
        prepared = [attempted(self._windows, item) for item in items]
        feeds = [window.feed() for windows in prepared if not isinstance(windows, EdgekitError) for window in windows]
        outputs = attempted(self.joined.outputs, self._run, feeds)
        if isinstance(outputs, EdgekitError):  # of one of them: which, is seen alone
            return [attempted(self._answer, item, asked) for item in items]
        rest, answers = iter(outputs), list[JsonObject | EdgekitError]()
        for item, windows in zip(items, prepared, strict=True):
            if isinstance(windows, EdgekitError):
                answers.append(windows)
            else:
                answers.append(attempted(self._read, item, windows, [next(rest) for _ in windows], asked))
        return answers

    @cached_property
    def output_names(self) -> list[str]:
        """The graph's first output, of which answers are made: a session that is given no names makes a list of all at every run."""
        return [self.session.get_outputs()[0].name]

    def crew(self, workers: Threads) -> list[Model]:
        """This model and others like it, one for each of `workers`, with the threads that the bundle was scored with; None: this one alone.

        Raises:
            BadInput: no number of workers, or several where another processor than the CPU answers one input after another.
        """
        count, variant = parse_threads(workers, name="workers"), self.bundle.manifest.variant
        threads = usable_threads(variant.threads or 1)
        if count == AUTO:
            count = 1 if variant.provider != CPU else max(1, min(own_cores() // threads, self._in_memory()))
        if count is None or count == 1:
            return [self]
        if variant.provider != CPU:
            raise BadInput(f"{variant.provider} answers one input after another", where="workers", fix="leave it out")
        first = [self] if self.threads == threads else []
        return first + [self._like(threads) for _ in range(count - len(first))]

    def _like(self, threads: int) -> Model:
        """This model with a session of its own, and a cache, where it has one."""
        if self.language is not None:
            keeps, speculate = self.language.prefixes.limit > 0, SPECULATE[0] if self.language.speculation else "off"
            return opened(self.bundle, threads, prefix_cache=keeps, speculate=parse_speculate(speculate))
        joined = self.joined if threads == 1 else None
        return replace(self, session=_session(self.bundle, threads), threads=threads, joined=joined)

    def _in_memory(self) -> int:
        """How many models of this size half of the memory that is free has room for."""
        size = sum(asset.size for name, asset in self.bundle.manifest.assets.items() if name in (MODEL, MODEL_DATA))
        free = re.search(r"^MemAvailable:\s+(\d+) kB", read_text(Path("/proc/meminfo")), re.MULTILINE)
        return 1 + int(free[1]) * 1024 // 2 // (SESSION_SIZE * max(1, size)) if free else 1

    def asks(self, top_k: int | None, sampling: Mapping[str, Any] = NOTHING) -> int | Sampling:
        """What one asks of every answer: how many labels it lists, or how a language model draws."""
        said = {name: plain(value) for name, value in sampling.items() if value is not None} if sampling else {}
        if self.language is None:
            if said:
                what = f"{', '.join(sorted(said))}: only for language models, and this is {self.bundle.manifest.task}"
                raise BadInput(what, fix="leave it out")
            return 1 if top_k is None else a_whole_number(top_k, "top_k", least=1)
        from edgekit.runtime.generate.sample import parse_sampling

        return parse_sampling(said if top_k is None else {**said, "top_k": a_whole_number(top_k, "top_k", least=0)})

    def _answer(self, item: Any, asked: int | Sampling) -> JsonObject:
        if self.language is not None:
            assert not isinstance(asked, int), "a language model is asked by sampling settings"
            return self.language.answer(item, asked).document()
        windows = processor(self.bundle.manifest.task).prepare(self.reader, item)
        return self._read(item, windows, self.outputs(windows), asked)

    def _read(self, item: Any, windows: list[Window], outputs: list[np.ndarray], asked: int | Sampling) -> JsonObject:
        """The answer to `item` from the outputs of its windows."""
        assert isinstance(asked, int), "a number of labels, of all but language models"
        answer = processor(self.bundle.manifest.task).answer(outputs, windows, self.asked(item, asked))
        answer = {**answer, "truncated": True} if any(one.truncated for one in windows) else answer
        rate = next((one.sound.resampled for one in windows if one.sound is not None), None)
        return answer if rate is None else {**answer, "resampled_from": rate}

    def _windows(self, item: Any) -> list[Window]:
        """The windows of `item`, whose ids can be looked up."""
        windows = processor(self.bundle.manifest.task).prepare(self.reader, item)
        self._check(windows)
        return windows

    def _check(self, windows: list[Window]) -> None:
        manifest = self.bundle.manifest
        for one in windows:
            if one.pixels is None and one.sound is None:
                check_ids(one.ids[None], manifest.vocabulary, manifest.max_length)

    def _run(self, feed: dict[str, np.ndarray]) -> np.ndarray:
        """The graph's first output."""
        try:
            output: np.ndarray = self.session.run(self.output_names, feed)[0]
        except Exception as fault:  # onnxruntime's error classes share no base but this
            raise CheckFailed(f"ONNX Runtime cannot run it: {str(fault)[:300]}", where=str(self.bundle.folder)) from None
        return output

    def asked(self, item: object, top_k: int = 1) -> Asked:
        """What the answer to `item` depends on beside the outputs."""
        manifest = self.bundle.manifest
        return Asked(manifest.labels, manifest.threshold, manifest.activation or "identity", top_k, item)

    def outputs(self, windows: list[Window]) -> list[np.ndarray]:
        """The graph's first output for each pass, float32 (1, ...); of a language model what `score` gives, float64 (1, length - 1)."""
        self._check(windows)
        if self.language is not None:
            return [self.language.score(one.ids)[None] for one in windows]
        return [self._run(one.feed()) for one in windows]


def one_input(items: object) -> bool:
    """Whether `items` is one input: a text, an object, an image, which an array of three axes is, or a sound, an array of one."""
    if not isinstance(items, np.ndarray):
        return isinstance(items, ALONE)
    sound = items.ndim == 1 and (items.dtype.kind == "f" or items.dtype == np.int16)
    return sound or (items.ndim == IMAGE_AXES and items.dtype.kind in "uf")


def several(items: object) -> Iterable[Any]:
    """`items`, where they are several inputs.

    Raises:
        BadInput: one alone, or nothing that can be gone through.
    """
    if one_input(items) or not isinstance(items, Iterable) or (isinstance(items, np.ndarray) and items.ndim == 0):
        raise BadInput(
            f"{type(items).__name__} is no input where several are wanted", fix="give a text, an object, or a list of them"
        )
    return items


def _length(items: Iterable[Any]) -> int | None:
    """How many `items` are, where they say so."""
    try:
        return len(items) if isinstance(items, Sized) else None
    except (TypeError, ValueError, OverflowError):  # what no length can be; messages go without
        return None


def load(path: str | Path, *, threads: Threads = None, prefix_cache: bool = True, speculate: Speculate = SPECULATE[0]) -> Model:
    """Open the bundle at `path`, with every file hashed again, read strictly, and the chip checked.

    A bundle that was neither made nor loaded here before is loaded in a child process with limits first (`bundle.proof`).

    `threads`: how many; "auto" for what is fastest here, which takes seconds the first time and is remembered in a file beside the bundle; None
    for what its target says. `prefix_cache`: a language model keeps what it has read of earlier prompts for those that begin alike, which
    changes no answer. `speculate`: "lookup", it guesses the next tokens from what stood after the same ones before, and reads the guesses with
    each token where that is faster, which changes no answer either; "off", it reads one token a run.

    Raises:
        BadInput: no sound bundle there, a file that no bundle of ours can hold, or an argument that cannot be used.
        CheckFailed: a file is not what the manifest says, or the first load took too much time or memory.
        NotPossibleHere: the chip or the provider is not what the bundle needs.
    """
    asked = parse_threads(threads)
    prefix_cache, speculate = a_switch(prefix_cache, "prefix_cache"), parse_speculate(speculate)
    place = a_path(path, "path")

    def work() -> Model:
        bundle = checked(place)
        return opened(bundle, threads_for(bundle, asked), prefix_cache=prefix_cache, speculate=speculate)

    return undisturbed(place, work)


def checked(path: str | Path) -> Bundle:
    """The bundle at `path`, of which all is checked that `load` does.

    Raises:
        BadInput, CheckFailed, NotPossibleHere: as `load`.
    """
    bundle = open_bundle(a_path(path, "path"))
    target = bundle.manifest.target
    check_contents(bundle)
    check_chip(target.arch, target.isa, target.isa_any, str(bundle.folder))
    prove(bundle)
    return bundle


def threads_for(bundle: Bundle, asked: Threads = None) -> int:
    """How many threads a checked bundle is to answer with: what is `asked`, or else what its target says, never more than this process may use.

    Where that is "auto", it is found out here by `best_threads`; a GPU, which does the work there, needs one.
    """
    variant = bundle.manifest.variant
    wanted = asked or variant.threads or AUTO
    if wanted != AUTO:
        return usable_threads(wanted)
    return best_threads(bundle, partial(_work, bundle)) if variant.provider == CPU else 1


def _work(bundle: Bundle, threads: int) -> Callable[[], object]:
    """What is timed with so many threads: answers to some golden inputs, from raw text on; of a language model one token."""
    model = opened(bundle, threads, prefix_cache=False, speculate="off")
    if model.language is None:
        from edgekit.runtime.bundle.golden import parse_golden  # here alone: most loads answer none

        inputs = [row.input for row in parse_golden(bundle.folder, bundle.manifest)[:TRIED]]
        return lambda: [model(one) for one in inputs]
    graph = model.language.graph
    cache, token = graph.empty(1, min(ROOM, graph.context)), np.zeros((1, 1), dtype=np.int64)

    def one_token() -> None:
        if cache.lengths[0] == cache.capacity:
            cache.lengths[:] = 0
        graph.run(token, cache)

    return one_token


def opened(
    bundle: Bundle,
    threads: int,
    *,
    prefix_cache: bool = True,
    speculate: Speculate = SPECULATE[0],
) -> Model:
    """The model of a bundle that was checked, with so many threads."""
    manifest, session = bundle.manifest, _session(bundle, threads)
    if manifest.generation is not None:
        return _language(bundle, session, threads, prefix_cache=prefix_cache, speculate=speculate)
    if processor(manifest.task).reads != manifest.reads:
        raise BadInput(
            f"a model for {manifest.task} that reads {manifest.reads}s", where=str(bundle.folder), fix="export the bundle again"
        )
    reader = reader_in(
        bundle.folder, manifest.reads, manifest.max_length, segments=manifest.segments, pairs=bundle.config.text_pairs,
        prompts=manifest.prompts,
    )  # fmt: skip
    alone = threads > 1 or manifest.variant.provider != CPU or manifest.reads != "text" or not joins(bundle)
    return Model(bundle, session, reader, threads=threads, joined=None if alone else Joined())


def _session(bundle: Bundle, threads: int) -> Session:
    variant = bundle.manifest.variant
    return open_session(bundle.folder / variant.file, provider=variant.provider, threads=threads, config=variant.config)


def _draft(bundle: Bundle, model: LanguageModel, *, prefix_cache: bool) -> Draft:
    """The bundle's small model, which guesses what `model` says, on one thread: it is too small for two to meet, and those of the larger one wait."""
    from edgekit.runtime.generate.cache import PREFIX_BYTES
    from edgekit.runtime.generate.draft import Draft
    from edgekit.runtime.generate.graph import check_graph

    facts, variant = bundle.manifest.draft, bundle.manifest.variant
    assert facts is not None, "asked of a bundle with a draft"
    session = open_session(bundle.folder / facts.file, provider=variant.provider, threads=1, config=variant.config)
    graph = check_graph(session, facts.generation)
    if graph.vocabulary < model.tokens:
        what = f"the draft's vocabulary of {graph.vocabulary} is less than the model's {model.tokens} tokens"
        raise BadInput(what, where=str(bundle.folder / facts.file), fix="use a draft with the model's tokenizer")
    return Draft(graph, model.tokens, prefix_bytes=PREFIX_BYTES if prefix_cache else 0)


def _language(bundle: Bundle, session: Any, threads: int, *, prefix_cache: bool, speculate: Speculate) -> Model:
    from edgekit.runtime.generate.cache import PREFIX_BYTES
    from edgekit.runtime.generate.model import language_model
    from edgekit.runtime.generate.speculate import Speculation, unlike_alone

    manifest = bundle.manifest
    assert manifest.generation is not None, "parse_manifest wants it for this task"
    template = manifest.generation.chat_template
    model = language_model(
        session, manifest.generation, bundle.folder / manifest.text.file, bundle.folder / template if template else None,
        prefix_bytes=PREFIX_BYTES if prefix_cache else 0,
    )  # fmt: skip
    if model.graph.vocabulary != manifest.vocabulary:
        what = f"the graph's vocabulary of {model.graph.vocabulary} is not the manifest's {manifest.vocabulary}"
        raise BadInput(what, where=str(bundle.folder))
    if speculate != "off":
        from edgekit.runtime.bundle.onnx_file import read_graph

        file = read_graph(bundle.folder / manifest.variant.file)
        draft = _draft(bundle, model, prefix_cache=prefix_cache) if manifest.draft is not None else None
        model = replace(model, speculation=Speculation(model.graph, unlike_alone(file, model.graph), draft))
    tokenise = Tokeniser(model.tokenizer, manifest.max_length, segments=False, cuts=False)
    return Model(bundle, session, tokenise, model, threads)
