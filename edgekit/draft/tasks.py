"""Which tasks a model is for: by the class that its configuration names, what its head means, and which columns the rows have."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from edgekit.data.form import Form
from edgekit.data.forms import form_of, forms
from edgekit.data.images import FILES
from edgekit.data.labels import few
from edgekit.draft.fit import Fit, Said, Table, categories, described, fit_columns, text_columns, there_in
from edgekit.draft.given import Given, given
from edgekit.draft.labels import LABELS
from edgekit.draft.seen import Unclear
from edgekit.errors import BadInput
from edgekit.models.anatomy import ENCODERS, NOT_OF_TEXTS
from edgekit.models.decoders import decoder_types
from edgekit.models.facts import ModelFacts
from edgekit.models.heads import CLASSIFIER
from edgekit.models.image_families import IMAGE_FAMILIES
from edgekit.runtime.reader import Reads
from edgekit.runtime.tags import read_scheme, scheme_fault
from edgekit.tasks import Kind, Task, find_task, task_names
from edgekit.tasks.task import Alone

__all__ = ["Answers", "Candidate", "candidates", "kinds_of", "without_rows"]

CLASSES = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForImageClassification": "AutoModelForImageClassification",
    "ForImageClassificationWithTeacher": "AutoModelForImageClassification",
    "ForAudioClassification": "AutoModelForAudioClassification",
    "ForCTC": "AutoModelForCTC",
}
"""End of the name of a transformers class -> the one that tasks name."""
LABELLED_TEXT = ("text", "label")
TRAINABLE = ("text-classification", "token-classification", "question-answering")
"""Tasks whose head may be trained here, on an encoder without one (`finetune`)."""
SAID = ("image-classification",)
"""Those that may be trained on one whose embeddings are a task by themselves, where the user says so."""
Answers = Literal["rows", "original"]
"""As [data] has it."""
HEAD_MODULES = {
    "classifier": ("AutoModelForSequenceClassification", "AutoModelForTokenClassification"),
    "qa_outputs": ("AutoModelForQuestionAnswering",),
    "lm_head": ("AutoModelForCausalLM",),
}
"""Module of a head -> the classes that have it."""


@dataclass(frozen=True)
class Candidate:
    """A task that a model and its rows may be meant for."""

    task: Task
    fit: Fit
    reason: str
    finetune: bool = False
    """Whether a new head must be trained for it."""
    answers: Answers = "rows"
    """Who says what is right."""
    form: Form | None = None
    """The form that the rows are in, where they do not have the task's own columns."""

    @property
    def width(self) -> int:
        """Columns that a row has for the task."""
        return len(self.fit.columns) if self.form is None else len(self.form.gives)


def kinds_of(name: str, wanted: str | None) -> set[Kind]:
    """The kinds of tasks that the model called `name` may be for, as its files alone say, or that of the task `wanted`: no rows are read.

    Raises:
        BadInput, NotPossibleHere: as `given` does; an unknown task.
    """
    if wanted is not None:
        return {find_task(wanted).kind}
    autos, _ = _classes(given(name))
    return {find_task(task).kind for task in task_names() if find_task(task).auto in autos}


def candidates(
    model: Given,
    rows: Table,
    said: Said,
    wanted: str | None,
    answers: Answers | None = None,
    unheld: Mapping[str, str] = MappingProxyType({}),
) -> list[Candidate]:
    """The tasks that fit the model and the rows, the likeliest first; of `wanted` alone where the user said a task. `answers`: who says what
    is right, where the user said it.

    Raises:
        BadInput: no task fits, with what each lacks; an unknown task.
        Unclear: none fits without a question.
    """
    facts = model.facts
    autos, shown = _classes(model)
    _check_architecture(model)
    reads = _reads(model)
    if wanted == "image-feature-extraction" and reads == "image":
        autos = {"AutoModel"}  # every model of images is asked for what its labels are made of
    names = [name for name in task_names() if find_task(name).reads == reads] if wanted is None else [find_task(wanted).name]
    found: list[Candidate] = []
    lacks: list[str] = []
    meant: list[str] = []
    """Why the model is not for tasks of which the rows have all columns by their own names."""
    missing: dict[str, tuple[str, ...]] = {}
    unclear: list[Unclear] = []
    for name in names:
        task = find_task(name)
        finetune = autos == {"AutoModel"} and (name in TRAINABLE if reads == "text" else wanted in SAID) and task.reads == reads
        if task.reads != reads or (task.auto not in autos and not finetune):
            if wanted is not None:
                lacks.append(f"{name}: the model is {shown}")
            continue
        if task.auto == "AutoModelForSequenceClassification" and not finetune and facts.head is not None:
            faults = facts.head.faults(task.head)
            if faults:
                lacks.append(f"{name}: {faults[0]}")
                if len(task.columns) > len(LABELLED_TEXT) and _by_name(task, rows, said):
                    meant.append(f"{name}: {faults[0]}")
                continue
        try:
            if (formed := _in_a_form(task, rows, said)) is not None and not finetune:
                found.append(Candidate(task, formed[1], f"the model is {shown}", form=formed[0]))
                continue
            known = facts.labels if task.named and not finetune and name != "zero-shot-classification" else None
            if task.alone is not None and not finetune and answers == "original":  # whatever columns of answers may hold
                alone = _alone(task, task.alone, shown, rows, said)
                if isinstance(alone, Candidate):
                    found.append(alone)
                else:
                    missing[name] = alone
                continue
            fit = fit_columns(task.columns, task.optional, task.kinds, rows, known, said)
        except Unclear as question:  # which matters only where no other task fits without a question
            unclear.append(question)
            continue
        if isinstance(fit, Fit) and answers != "original":
            reason = (
                f"the model is {shown}" if not finetune else f"{shown} has no head for it, and rows have labels to train one on"
            )
            found.append(Candidate(task, fit, reason, finetune))
            continue
        if task.alone is not None and not finetune and answers is None:
            alone = _alone(task, task.alone, shown, rows, said)
            if isinstance(alone, Candidate):
                found.append(alone)
                continue
        if isinstance(fit, Fit):
            lacks.append(f"{name}: rows without answers ask nothing of it")
        else:
            missing[name] = fit
    whole = (
        one for one in found if not one.finetune and (one.form is not None or set(one.task.columns) <= set(one.fit.columns))
    )
    if unclear and not any(whole):
        raise unclear[0]
    found = [one for one in found if one.answers == "rows"] or _by_labels(found, facts, shown)
    if meant and answers is None and all(one.answers == "original" for one in found):
        raise BadInput(
            "the rows are those of a task that this model is not for", where=str(model.folder), faults=meant,
            fix="give the rows of its task; where the original's own answers to one text a row are to be right, say so: --answers original",
            see="no-task-fits",
        )  # fmt: skip
    if not found:
        others = wanted and _others(model, wanted, lambda: candidates(model, rows, said, None, answers, unheld))
        raise BadInput(
            "no task fits this model and these rows",
            where=str(model.folder),
            faults=[
                *(
                    f"{name}: no column of the rows could be its {' or its '.join(columns)}"
                    for name, columns in missing.items()
                ),
                *(unheld.values() if any(column in FILES for columns in missing.values() for column in columns) else ()),
                *([] if missing else lacks),  # what the head is not for says nothing where there is a task that it is for
                *(f"the rows have {column}" for column in described(rows)),
            ],
            fix=_which(rows, min(missing.values(), key=len, default=()), others),
            see="no-task-fits",
        )
    return _likeliest(found, facts, rows, said, sentences=model.sentences)


def _alone(task: Task, alone: Alone, shown: str, rows: Table, said: Said) -> Candidate | tuple[str, ...]:
    """The task of a model that is `shown`, of rows without answers; or the columns that they lack for it."""
    fit = fit_columns(alone.columns, task.optional, {**task.kinds, **alone.kinds}, rows, None, said)
    if not isinstance(fit, Fit):
        return fit
    return Candidate(task, fit, f"the model is {shown}", answers="rows" if alone.seen else "original")


def _in_a_form(task: Task, rows: Table, said: Said) -> tuple[Form, Fit] | None:
    """The form that rows are in for `task`, with the columns that go by names of their own; None where there is none."""
    names = {column: said.columns.get(column, column) for column in task.columns}
    if (found := form_of(rows[0], names)) is not None:
        form, columns = found
        named = {column: name for column, name in columns.items() if column in form.gives}
        return form, Fit(named, {column: "as you said" if column in said.columns else "by its name" for column in named})
    for form in forms():
        if form.kinds and set(form.gives) <= set(task.columns):
            fit = fit_columns(task.columns, task.optional, {**task.kinds, **form.kinds}, rows, None, said)
            if isinstance(fit, Fit) and form.find(rows[0], fit.columns) is not None:
                return form, fit
    return None


def _by_name(task: Task, rows: Table, said: Said) -> bool:
    """Whether the rows have all columns of a task under their own names, or in one of the forms that say the same."""
    names = {column: said.columns.get(column, column) for column in task.columns}
    there = there_in(rows)
    return all(name in there for name in names.values()) or form_of(rows[0], names) is not None


def _which(rows: Table, missing: tuple[str, ...], others: str | None) -> str:
    """What to say of the columns that are missing, with the file's own names where they may be meant. `others`: what to say in the place of
    the task that was said; None where none was.
    """
    there = there_in(rows)
    texts = text_columns(rows, there)
    labels = [name for name in categories(rows, there) if name not in texts]
    guesses = {"text": texts[:1], "tokens": texts[:1], "label": labels[:1]}
    options = [_quoted("--column", f"{column}={next(iter(guesses.get(column, [])), 'NAME')}") for column in missing]
    instead = others or ("or the task (--task)" if options else "say the task (--task)")
    return f"say which column is which, as in {' '.join(options)}{'; or ' if others else ', '}{instead}" if options else instead


def _quoted(option: str, value: str) -> str:
    return f"{option} {shlex.quote(value)}"


def _files_of(autos: set[str]) -> str:
    """What rows a model of images or sounds wants."""
    if "AutoModelForCTC" in autos:
        return "give some, --data FILE: a table of files and of what is said in them, such as audio,text and a line for each, clips/1.wav,hello"
    if autos == {"AutoModel"}:
        return "give some, --data FOLDER, which holds them"
    return "give some, --data FOLDER, which holds a folder for each label, or those of train, validation and test"


def _others(model: Given, wanted: str, find: Callable[[], list[Candidate]]) -> str:
    """What to say in the place of the task `wanted`, which does not fit. `find`: the tasks that do."""
    try:
        fit = [one.task.name for one in find()]
    except Unclear as question:
        fit = [value for choice in question.choices for option, _, value in choice.says if option == "--task"]
    except BadInput:
        fit = []
    if fit:
        return f"leave --task out, or say what fits: {' or '.join(f'--task {name}' for name in fit)}"
    autos, head = _classes(model)[0], model.facts.head
    known = [task for name in task_names() if (task := find_task(name)).auto in autos and task.reads == _reads(model)]
    for_it = [
        task.name
        for task in known
        if task.auto != CLASSIFIER or head is None or not head.faults(task.head)
        if task.name != wanted
    ]
    return f"leave --task out{f', as the model is for {few(for_it)}' if for_it else ''}"


def without_rows(model: Given, wanted: str | None) -> list[Candidate]:
    """The tasks that the model is for by its own files, as far as texts alone can be asked of it.

    Raises:
        BadInput: no such task; an unknown task.
    """
    facts = model.facts
    autos, shown = _classes(model)
    _check_architecture(model)
    if (reads := _reads(model)) != "text":
        raise BadInput(
            f"a model of {reads}s is asked about {reads}s, which no data that edgekit ships has",
            where=str(model.folder),
            fix=_files_of(autos),
            see="no-task-fits",
        )
    needs: list[str] = []
    found: list[Candidate] = []
    for name in task_names() if wanted is None else [find_task(wanted).name]:
        task = find_task(name)
        if task.auto not in autos:
            needs += [f"{name}: the model is {shown}"] if wanted is not None else []
        elif task.auto == CLASSIFIER and facts.head is not None and (faults := facts.head.faults(task.head)):
            needs += [f"{name}: {faults[0]}"] if wanted is not None else []
        elif task.kind == "encoder" and task.alone is None:
            one_number = task.head == "score" and facts.head is not None and facts.head.cross_encoder.activation is None
            needs += [f"{name}: needs rows with {', '.join(task.columns)}"] if wanted is not None or not one_number else []
        else:
            found.append(Candidate(task, Fit({}, {}), f"the model is {shown}"))
    found = _by_labels(found, facts, shown)
    pairs = wanted is None and len(needs) > 0  # an entailment model or a cross-encoder, which reads pairs of texts
    if pairs or not found:
        raise BadInput(
            "texts alone ask nothing of this model", where=str(model.folder), faults=needs,
            fix="give rows in one file, --data FILE" + (f", or say that single texts are meant: --task {found[0].task.name}" if found else "")
            + (f"; or {_others(model, wanted, lambda: without_rows(model, None))}" if wanted is not None else ""),
            see="no-task-fits",
        )  # fmt: skip
    return found


def _by_labels(found: list[Candidate], facts: ModelFacts, shown: str) -> list[Candidate]:
    """Those that the model's labels leave, where its weights have a head whose name two kinds of heads have."""
    if {one.task.auto for one in found} != set(HEAD_MODULES["classifier"]):
        return found
    entities = facts.labels is not None and scheme_fault(facts.labels) is None and not read_scheme(facts.labels).plain
    why = f"the model is {shown}, and its labels are {'tags' if entities else 'no tags'} of entities"
    return [replace(one, reason=why) for one in found if one.task.auto == HEAD_MODULES["classifier"][entities]]


def _check_architecture(model: Given) -> None:
    """Raises BadInput for a model of a kind that no task is for."""
    kind, known = model.facts.architecture, {*ENCODERS, *decoder_types()}
    if kind is None:
        raise BadInput(
            "config.json says no model_type, so nobody knows what its weights are",
            where=str(model.folder),
            fix="use the config.json that was saved with them",
        )
    if kind not in known | NOT_OF_TEXTS:
        raise BadInput(
            f"no task is for a model of this kind ({_shown(model) or 'model'}, model_type = {kind!r} in config.json)",
            where=str(model.folder),
            fix=f"use one of {', '.join(sorted(known))}; `edgekit ls tasks` lists what they can be for",
        )


def _classes(model: Given) -> tuple[set[str], str]:
    """(transformers classes that the model may be of, how it is called): by modules.json, by the class that config.json names, or,
    where that has no head, by the head among the weights."""
    facts, architecture = model.facts, _shown(model) or "a model without a name"
    if model.sentences:
        return {"AutoModel"}, "a sentence-transformers folder"
    if facts.architecture in decoder_types():
        return {"AutoModelForCausalLM"}, _shown(model) or f"of the family {facts.architecture}"
    by_name = {auto for name in model.architectures for end, auto in CLASSES.items() if name.endswith(end)}
    modules = {module.partition(".")[0] for module in facts.modules or ()}
    if (reads := _reads(model)) != "text":
        if "AutoModelForCTC" in by_name:
            return {"AutoModelForCTC"}, architecture
        labelled = {"image": "AutoModelForImageClassification", "sound": "AutoModelForAudioClassification"}[reads]
        head = bool(by_name & {labelled, CLASSIFIER})  # Wav2Vec2's class that hears labels is called as those of texts are
        if not model.architectures:
            head = bool(modules & {"classifier", "cls_classifier"})
        return {labelled if head else "AutoModel"}, _shown(
            model
        ) or f"a {facts.architecture} with{'' if head else 'out'} a classifier"
    by_weights = {auto for module, autos in HEAD_MODULES.items() if module in modules for auto in autos}
    if by_name or not by_weights:
        return by_name or {"AutoModel"}, architecture
    return by_weights, f"{architecture} with the head {', '.join(sorted(modules & set(HEAD_MODULES)))}"


def _reads(model: Given) -> Reads:
    """What the model reads."""
    if model.facts.architecture not in NOT_OF_TEXTS:
        return "text"
    return "image" if model.facts.architecture in IMAGE_FAMILIES else "sound"


def _shown(model: Given) -> str:
    return " or ".join(model.architectures)


def _likeliest(found: list[Candidate], facts: ModelFacts, rows: Table, said: Said, *, sentences: bool) -> list[Candidate]:
    """Without those that another one rules out: labels of rows that are the model's own make it no entailment model's candidates, a task
    whose columns go by their own names is meant before one whose columns had to be found."""
    found = [
        one for one in found if set(said.columns) <= set(one.fit.columns)
    ] or found  # columns that the user names are all meant
    most = max(one.width for one in found)
    if most > len(LABELLED_TEXT):  # rows of more than a text and a label are not read for less
        found = [one for one in found if one.width == most]
    if len(found) > 1 and (ranked := [one for one in found if one.form is not None and "query" in one.fit.columns]):
        query = ranked[0].fit.columns["query"]
        repeated = 2 * len({str(row.get(query)) for row in rows}) <= len(rows)  # else there is nothing to put in order
        found = ranked if repeated else [one for one in found if one not in ranked]
    by_name = {one.task.name: one for one in found}
    if {"text-classification", "zero-shot-classification"} <= set(by_name):
        own = facts.labels is not None and not by_name["text-classification"].fit.unknown
        found = [one for one in found if one.task.name != ("zero-shot-classification" if own else "text-classification")]
    scored = [one for one in found if one.task.auto == "AutoModel" and one.fit.columns.get("score", "label") not in LABELS]
    if sentences and scored:
        found = scored
    if not sentences and any(one.finetune for one in found):
        found = [one for one in found if one.finetune]
    exact = [one for one in found if all(column == name for column, name in one.fit.columns.items())]
    if exact and len(exact) < len(found):
        most = max(one.width for one in exact)
        found = [one for one in exact if one.width == most]
    return found
