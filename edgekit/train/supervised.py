"""The uncompressed model trained on the labels of the recipe's rows: from random weights, or a new head on a pretrained encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.config.recipe import Finetune, NewModel
from edgekit.config.sounds import NewSound, SoundChanges
from edgekit.data.splits import RECORD
from edgekit.errors import BadInput
from edgekit.models.heads import CLASSIFIER, ONE_OUTPUT
from edgekit.progress import Progress
from edgekit.runtime.jsontypes import JsonObject
from edgekit.tasks import Task, find_task
from edgekit.tasks.encode import encode, labels_of, read_split, texts_in, texts_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

    from edgekit.models.device import Feed
    from edgekit.train.loop import Hyperparameters

__all__ = ["finetune", "labels_in", "mark_pairs", "pairs_in", "train_from_scratch"]


def train_from_scratch(
    rows: Path, out: Path, scratch: Path, *, task: str, new: NewModel, max_length: int, seed: int, progress: Progress
) -> JsonObject:
    """Learn a vocabulary, then train the model from random weights; writes a checkpoint to `out`, returns the history.

    Raises:
        BadInput: the task's rows do not say what to learn.
    """
    import torch

    from edgekit.models.checkpoint import save
    from edgekit.models.heads import mark_head
    from edgekit.train.from_scratch import learn_bpe, learn_wordpiece, new_bert, new_llama
    from edgekit.train.loop import Hyperparameters

    kind = _supervised(task, "new")
    if new.sound is not None:
        return _train_hearing(rows, out, scratch, kind, new, new.sound, max_length, seed, progress)
    texts = [text for row in read_split(rows, "train") for item in kind.items(row) for text in texts_of(item)]
    learn = learn_bpe if kind.kind == "decoder" else learn_wordpiece
    vocabulary = learn(texts, new.vocabulary, scratch)
    torch.manual_seed(seed)
    if kind.kind == "decoder":
        model = new_llama(new, vocabulary, max_length)
    else:
        labels, pairs = outputs_in(rows, kind), pairs_in(rows)
        model = new_bert(kind.auto, new, vocabulary, max_length, labels=labels, pairs=kind.pairs or pairs)
        mark_pairs(model.config, pairs)
        mark_head(model.config, kind.head)
    save(model, scratch / "start", tokenizer_files_from=scratch)
    plan = Hyperparameters(new.epochs, new.batch, new.learning_rate)
    return _train_on_labels(model, kind, scratch / "start", rows, out, scratch, plan, max_length, seed, progress)


def _train_hearing(
    rows: Path,
    out: Path,
    scratch: Path,
    kind: Task,
    new: NewModel,
    sound: NewSound,
    max_length: int,
    seed: int,
    progress: Progress,
) -> JsonObject:
    """Train an AST from random weights, whose features are normalised by what the training rows have, padding included."""
    import numpy as np
    import torch

    from edgekit.models.checkpoint import save
    from edgekit.models.sounds import write_hearing
    from edgekit.train.from_scratch import new_ast, new_hearing
    from edgekit.train.loop import Hyperparameters

    torch.manual_seed(seed)
    start = scratch / "start"
    model = new_ast(new, sound, labels_in(rows))
    save(model, start, tokenizer_files_from=scratch)
    write_hearing(start, new_hearing(sound, 0.0, 0.5))  # features as they are
    windows = encode(start, read_split(rows, "train"), kind, max_length).windows
    features = np.stack([window.sound.tensor() for window in windows if window.sound is not None])
    write_hearing(start, new_hearing(sound, float(features.mean()), float(features.std())))
    plan = Hyperparameters(new.epochs, new.batch, new.learning_rate)
    return _train_on_labels(model, kind, start, rows, out, scratch, plan, max_length, seed, progress, new.changes)


def finetune(
    source: str | Path, rows: Path, out: Path, scratch: Path, *, task: str, settings: Finetune, max_length: int, seed: int,
    progress: Progress,
) -> JsonObject:  # fmt: skip
    """Put a fresh head on the encoder `source` and train all of it; writes a checkpoint to `out`, returns the history.

    Raises:
        BadInput: the task's rows do not say what to learn, or the encoder cannot be used.
    """
    from edgekit.models.checkpoint import load, save
    from edgekit.models.preprocessing import fit_positions
    from edgekit.models.settle import settle, settle_reader
    from edgekit.train.loop import Hyperparameters

    kind = _supervised(task, "finetune")
    model = load(source, kind.auto, new_head=outputs_in(rows, kind) or [], head=kind.head)
    mark_pairs(model.config, pairs_in(rows))
    if kind.reads == "image":
        fit_positions(model, Path(model.config.name_or_path))
    save(model, scratch / "start", tokenizer_files_from=Path(model.config.name_or_path))
    if kind.reads != "text":
        settle_reader(kind.reads, Path(model.config.name_or_path), scratch / "start")
    else:
        settle(Path(model.config.name_or_path), scratch / "start", inputs=False, texts=texts_in(rows, kind))
    plan = Hyperparameters(
        settings.epochs, settings.batch, settings.learning_rate, precision=settings.precision, patience=settings.patience
    )
    return _train_on_labels(model, kind, scratch / "start", rows, out, scratch, plan, max_length, seed, progress)


def labels_in(rows: Path) -> list[str]:
    """Labels of a rows artifact, sorted; none where the task has none."""
    labels: list[str] = json.loads((rows / RECORD).read_text(encoding="utf-8")).get("labels", [])
    return labels


def outputs_in(rows: Path, task: Task) -> list[str] | None:
    """Names of the outputs of a new head for `task`: the labels of a rows artifact, one that gives a number, or None for no names."""
    if task.named:
        return labels_in(rows)
    return list(ONE_OUTPUT) if task.auto == CLASSIFIER else None


def pairs_in(rows: Path) -> bool:
    """Whether rows of a rows artifact have a second text."""
    return "text_pair" in json.loads((rows / RECORD).read_text(encoding="utf-8")).get("columns", [])


def mark_pairs(config: PreTrainedConfig, pairs: bool) -> None:
    """Set `text_pairs` in a model's configuration: whether it reads pairs of texts. It stays absent where it was and `pairs` is False."""
    if pairs or hasattr(config, "text_pairs"):
        config.text_pairs = pairs


def _supervised(task: str, table: str) -> Task:
    kind = find_task(task)
    if not kind.supervised:
        raise BadInput(
            f"rows of {task} do not say what to learn", where=f"model, {table}", fix="name a trained model with `id`"
        )
    return kind


def _train_on_labels(
    model: PreTrainedModel, task: Task, start: Path, rows: Path, out: Path, scratch: Path, plan: Hyperparameters, max_length: int,
    seed: int, progress: Progress, changes: SoundChanges | None = None,
) -> JsonObject:  # fmt: skip
    """Train `model`, whose tokenizer and labels are those of checkpoint `start`, and write it to `out`."""
    from edgekit.models.checkpoint import parameters, save
    from edgekit.train.evaluate import quality_of
    from edgekit.train.loop import fit

    data = {split: read_split(rows, split) for split in ("train", "validation")}
    train, validation = (encode(start, data[split], task, max_length) for split in data)
    labels = labels_of(start) if task.named else []

    def loss(model: PreTrainedModel, _: torch.nn.Module | None, feed: Feed, windows: np.ndarray) -> torch.Tensor:
        mask = feed["attention_mask"]
        wanted = train.wanted(windows).to(mask.device)
        return task.hard(task.tensor(model, model(**feed), mask).float(), wanted, mask).mean()

    history = fit(
        model, train, loss, lambda model: quality_of(model, task, validation, data["validation"], labels), plan,
        seed=seed, scratch=scratch / "epochs", progress=progress, label="train", changes=changes,
    )  # fmt: skip
    save(model, out, tokenizer_files_from=start)
    return {"parameters": parameters(model), "validation": history.best, "history": history.to_json()}
