"""What a manifest says of how a bundle answers: all of it follows from the checkpoint, the recipe and the target."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypedDict

import edgekit
from edgekit.config.recipe import Recipe
from edgekit.config.target import Session, Target
from edgekit.models.files import input_names
from edgekit.models.heads import ACTIVATION
from edgekit.models.sentence import read_sentence
from edgekit.pack.bundle import write_bundle
from edgekit.runtime.bundle.manifest import (
    Calibration,
    Embeddings,
    Golden,
    ImageFacts,
    Manifest,
    SoundFacts,
    Source,
    TargetFacts,
    TensorFacts,
    TokenizerFacts,
    Variant,
    Versions,
)
from edgekit.runtime.bundle.names import CONFIG, GENERATION, MODEL, MODEL_DATA, PREPROCESSOR, TOKENIZER
from edgekit.runtime.bundle.onnx_file import read_graph
from edgekit.runtime.bundle.quality import Quality
from edgekit.runtime.chip import machine
from edgekit.runtime.generate.generation import Generation, parse_generation
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.pixels import PIXEL_VALUES, read_pixels
from edgekit.runtime.processors import Asked
from edgekit.runtime.processors.multi_label_classification import USUAL
from edgekit.runtime.prompts import Prompts
from edgekit.runtime.providers.names import AUTO, CPU
from edgekit.runtime.reader import READER_FILES
from edgekit.runtime.sound import read_sound
from edgekit.tasks import find_task
from edgekit.tasks.encode import labels_of

__all__ = [
    "NOT_SCORED",
    "Answering",
    "answering",
    "bundled",
    "embeddings_of",
    "generation_of",
    "pack_for_comparison",
    "pack_for_timing",
]

BUNDLED = (TOKENIZER, PREPROCESSOR, CONFIG)
"""Files of the checkpoint that a bundle has, where they are there."""
OPSET = 20
NOT_SCORED: JsonObject = {"input": "", "input_ids": [[]], "outputs": [[]], "answer": None, "margin": None}
"""The golden input of a bundle that is compared and never shipped."""
OLDEST_RUNTIME = "1.30"
"""The oldest ONNX Runtime with the operators that exported graphs hold."""


class Answering(TypedDict):
    """The fields of a manifest that decide its answers."""

    variant: Variant
    task: str
    labels: tuple[str, ...]
    tokenizer: TokenizerFacts | None
    image: ImageFacts | None
    sound: SoundFacts | None
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    vocabulary: int
    opset: int
    onnxruntime: Versions
    generation: Generation | None
    embeddings: Embeddings | None
    activation: Literal["sigmoid", "identity"] | None


def answering(
    recipe: Recipe, checkpoint: Path, *, provider: str, session: Session, generation: Generation | None, output_size: int
) -> Answering:
    """Those fields. `output_size`: numbers that an encoder's graph gives for each window, or for each of its tokens."""
    task = find_task(recipe.task)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    pad_id, axes = max(0, config.get("pad_token_id") or 0), ("batch", "sequence")  # -1 says that there is none
    inputs, image = tuple(TensorFacts(name, "int64", axes) for name in input_names(checkpoint, pairs=task.pairs)), None
    sound = None
    if task.reads == "image":
        shape = read_pixels(checkpoint / PREPROCESSOR).shape
        inputs, image = (TensorFacts(PIXEL_VALUES, "float32", ("batch", *shape)),), ImageFacts(PREPROCESSOR, *shape[1:])
    if task.reads == "sound":
        hearing = read_sound(checkpoint / PREPROCESSOR).settings
        inputs = (TensorFacts(hearing.input_name, "float32", ("batch", *(hearing.shape or ("samples",)))),)
        sound = SoundFacts(PREPROCESSOR, hearing.sampling_rate, hearing.most_seconds)
    size = config["vocab_size"] if generation is not None else output_size
    threads = session.threads.encoder if generation is None else session.threads.decoder
    return {
        "variant": Variant(MODEL, provider, 0 if threads == AUTO else threads, dict(session.config)),
        "task": recipe.task,
        "labels": tuple(labels_of(checkpoint)) if task.named else (),
        "tokenizer": None
        if task.reads != "text"
        else TokenizerFacts(TOKENIZER, recipe.model.max_length, pad_id, _token(checkpoint, pad_id)),
        "image": image,
        "sound": sound,
        "inputs": inputs,
        "outputs": (TensorFacts(task.output, "float32", (*(axes if task.per_token else axes[:1]), size)),),
        "vocabulary": config["vocab_size"] if task.reads == "text" else 0,
        "opset": OPSET,
        "onnxruntime": Versions(min=OLDEST_RUNTIME, max=metadata.version("onnxruntime")),
        "generation": generation,
        "embeddings": embeddings_of(checkpoint) if task.auto == "AutoModel" else None,
        "activation": config[ACTIVATION] if task.head == "score" else None,
    }


def bundled(checkpoint: Path) -> dict[str, Path]:
    """Files of the checkpoint that its bundle has, by name."""
    return {name: checkpoint / name for name in BUNDLED if (checkpoint / name).is_file()}


def embeddings_of(checkpoint: Path) -> Embeddings | None:
    """What sentence-transformers keeps of the model beside its graph; None for a model that never was one of its."""
    sentence, _ = read_sentence(checkpoint)
    if sentence is None:
        return None
    prompts = Prompts(dict(sentence.prompts), sentence.default_prompt)
    return Embeddings(prompts, sentence.similarity, normalised=sentence.unit, nested=sentence.truncate is not None)


def generation_of(graph: Path) -> Generation | None:
    """What generating text with the decoder's graph in folder `graph` needs; None for an encoder's."""
    path = graph / GENERATION
    return parse_generation(json.loads(path.read_text(encoding="utf-8")), str(path)) if path.is_file() else None


def pack_for_comparison(folder: Path, recipe: Recipe, checkpoint: Path, graph: Path, files: dict[str, Path]) -> None:
    """Fill the empty `folder` with a bundle of the float32 graph in folder `graph`, for this machine, before anything is scored.

    It answers as a bundle of that graph does; what it says of its quality is nothing. `files`: its graph's files by name.
    """
    generation = generation_of(graph)
    fields = answering(
        recipe, checkpoint, provider=CPU, session=Session(), generation=generation, output_size=_outputs(files[MODEL])
    )
    golden: JsonObject = {"rows": [NOT_SCORED]}
    _pack_unscored(folder, recipe, checkpoint, files, fields, TargetFacts("here", machine(), (), (), CPU), golden, 1.0)


def pack_for_timing(folder: Path, recipe: Recipe, target: Target, checkpoint: Path, graph: Path, items: list[Any]) -> None:
    """Fill the empty `folder` with a bundle of the encoder's graph in folder `graph`, for `target`, which is timed and never shipped.

    Its golden inputs are of `items`, what the task's processor reads; what it says of its quality is nothing.
    """
    from edgekit.pack.golden import make_golden, tolerance
    from edgekit.tasks.encode import prompts_of

    files = {path.name: path for path in (graph / MODEL, graph / MODEL_DATA) if path.is_file()}
    task, threshold = find_task(recipe.task), USUAL if find_task(recipe.task).thresholds else None
    golden = make_golden(
        graph / MODEL, checkpoint / READER_FILES[task.reads], task.name, items, Asked(labels_of(checkpoint) if task.named else [], threshold),
        max_length=recipe.model.max_length, provider=CPU, config=target.stand_in if target.provider != CPU else None,
        prompts=prompts_of(checkpoint, task),
    )  # fmt: skip
    fields = answering(
        recipe,
        checkpoint,
        provider=target.provider,
        session=target.session,
        generation=None,
        output_size=_outputs(files[MODEL]),
    )
    facts = TargetFacts(target.name, target.arch, target.isa, target.isa_any, target.provider)
    _pack_unscored(folder, recipe, checkpoint, files, fields, facts, golden, tolerance(golden, target.tolerance))


def _pack_unscored(
    folder: Path, recipe: Recipe, checkpoint: Path, files: dict[str, Path], fields: Answering, target: TargetFacts, golden: JsonObject,
    tolerance: float,
) -> None:  # fmt: skip
    rows = golden["rows"]
    assert isinstance(rows, list)
    manifest = Manifest(
        name="not-scored",
        assets={},
        version=edgekit.__version__,
        target=target,
        source=Source(),
        data={},
        calibration=Calibration(),
        recipe=recipe.model_dump(mode="json", by_alias=True),
        quality=Quality("none", 0, original=0.0, bundle=0.0, difference=0.0, ci95=(0.0, 0.0)),
        golden=Golden("golden.json", len(rows), tolerance),
        licence=recipe.model.licence,
        tools={},
        threshold=USUAL if find_task(recipe.task).thresholds else None,
        **fields,
    )
    files = files | bundled(checkpoint)
    write_bundle(folder, manifest, files=files, texts={"golden.json": json.dumps(golden, ensure_ascii=False) + "\n"})


def _outputs(graph: Path) -> int:
    """Numbers that an encoder's graph gives for each window, or for each of its tokens."""
    axes = read_graph(graph).outputs[0].axes
    size = axes[-1] if axes else 0
    return size if isinstance(size, int) else 0


def _token(checkpoint: Path, number: int) -> str:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(checkpoint / "tokenizer.json")).id_to_token(number) or ""
