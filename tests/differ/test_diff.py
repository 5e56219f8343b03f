"""`edgekit diff`: which part it names, what it says where parts cannot be compared, and what it refuses."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

import edgekit
from benchmarks.diff.faults import Fault, decoder_faults, faults
from benchmarks.diff.subjects import Subject, bundled, decoder, packed
from edgekit.cli.app import app
from edgekit.differ.compare import Difference, diff
from edgekit.differ.errors import Sums
from edgekit.differ.layers import match_layers
from edgekit.differ.page import render_page
from edgekit.differ.parts import KINDS, Part, in_order
from edgekit.differ.show import document, explained, headline
from edgekit.errors import BadInput
from edgekit.quantize.float16 import to_bfloat16, to_float16
from edgekit.quantize.float16_decoder import decoder_to_float16
from edgekit.runtime.bundle.names import MODEL
from tests.conftest import tiny_rows
from tests.tiny_decoders import checkpoint
from tests.tiny_manifest import rewrite_manifest

WORDS = tuple(" ".join(f"w{3 + (start * 37 + place * 11) % 290}" for place in range(5 + 5 * start)) for start in range(9))
TEXTS = tuple(row["text"] for row in tiny_rows()["test"])
ENCODER = {fault.name: fault for fault in faults(8, 3)}
DECODER = {fault.name: fault for fault in decoder_faults(3)}
FEW = (
    "a damaged weight: the attention's last Linear", "ReLU for GELU", "a bias dropped: the MLP's first Linear", "one channel twice as large",
    "two rows of the embedding exchanged", "the mask ignored", "a label's bias off",
)  # fmt: skip
FEW_OF_DECODERS = ("another rope theta", "keys' heads in another order", "gate and up exchanged")


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tiny_export: Path) -> Subject:
    return Subject(tiny_model, tiny_export, TEXTS, 32, decodes=False)


@pytest.fixture(scope="module")
def sound(tiny: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled(tiny, tmp_path_factory.mktemp("sound"), rounds=True)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("language")
    made = checkpoint("llama", folder / "checkpoint", num_hidden_layers=3)
    return decoder(made, folder / "export", WORDS, max_length=64)


def named(subject: Subject, fault: Fault, folder: Path, *, rounds: bool) -> Difference:
    before, after = (None, fault.put) if fault.packed else (fault.put, None)
    return diff(subject.checkpoint, bundled(subject, folder, rounds=rounds, before=before, after=after))


def test_a_sound_bundle_has_no_part_that_leaves_the_tolerance(tiny: Subject, sound: Path) -> None:
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sound.iterdir()}
    found = edgekit.diff(tiny.checkpoint, sound)
    assert found.first is None
    assert found.reference_kind == "checkpoint" and found.inputs > 8 and not found.left_out
    assert {one.part for one in found.parts} == {
        Part("embeddings"), Part("head"), Part("output"),
        *(Part(kind, layer) for layer in range(3) for kind in ("heads", "attention", "neurons", "layer")),
    }  # fmt: skip
    assert all(one.own is not None and 0 < one.own.error < 0.1 for one in found.parts)
    assert diff(sound, tiny.checkpoint).reference == found.reference, "a checkpoint is the reference wherever it is named"
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sound.iterdir()} == before


@pytest.mark.parametrize("name", FEW)
def test_it_names_the_part_of_an_encoder_that_a_fault_is_in(tiny: Subject, tmp_path: Path, name: str) -> None:
    found = named(tiny, ENCODER[name], tmp_path, rounds=True)
    assert found.first is not None and found.first.part in ENCODER[name].right, headline(found)


@pytest.mark.parametrize("name", FEW_OF_DECODERS)
def test_it_names_the_part_of_a_decoder_that_a_fault_is_in(language: Subject, tmp_path: Path, name: str) -> None:
    found = named(language, DECODER[name], tmp_path, rounds=False)
    assert found.first is not None and found.first.part in DECODER[name].right, headline(found)


def test_two_bundles_of_one_model(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    exact = bundled(tiny, tmp_path / "exact", rounds=False)
    found = diff(exact, sound)
    assert found.first is None and found.reference_kind == "bundle"
    assert diff(tiny.checkpoint, exact).tolerance < found.tolerance, "float32 has less to be forgiven"


def test_float16_of_an_encoder_and_of_a_language_model(tiny: Subject, language: Subject, tmp_path: Path) -> None:
    """Rounded to 11 bits: no part leaves the tolerance, and each is further off than float32's kernels are."""
    for subject, name in ((tiny, "encoder"), (language, "decoder")):
        work = tmp_path / name
        work.mkdir()
        if subject.decodes:
            decoder_to_float16(subject.graph, work)
        else:
            to_float16(subject.graph / MODEL, work / MODEL)
        found = diff(subject.checkpoint, packed(subject, work, tmp_path / f"{name}-bundle"))
        errors = [one.own.error for one in found.parts if one.own is not None]
        assert found.first is None and found.rules.rounds and 1e-5 < max(errors) < 0.02, headline(found)


def test_bfloat16_where_only_the_cpu_is(tiny: Subject, tmp_path: Path) -> None:
    """Rounded to 8 bits, as for a GPU: float32 stands in between the weights, and what is wrong with the model is named all the same."""
    fault, found = ENCODER["ReLU for GELU"], []
    for name in ("sound", "damaged"):
        model = ir.load(tiny.graph / MODEL)
        if name == "damaged":
            fault.put(model)
        ir.save(model, tmp_path / "float32.onnx")
        bundle = packed(
            tiny, tiny.graph, tmp_path / name
        )  # whose golden outputs are float32's: no CPU computes those of bfloat16
        to_bfloat16(tmp_path / "float32.onnx", bundle / MODEL)
        rewrite_manifest(bundle)
        found.append(diff(tiny.checkpoint, bundle))
    sound, damaged = found
    errors = [one.own.error for one in sound.parts if one.own is not None]
    assert sound.first is None and sound.rules.rounds and 1e-4 < max(errors) < 0.1, headline(sound)
    assert any("float32 between them, stood in" in note for note in sound.notes)
    assert damaged.first is not None and damaged.first.part in fault.right, headline(damaged)


def test_a_language_model_without_some_of_its_blocks(language: Subject, tmp_path: Path) -> None:
    """Where the lineage says which stayed, what is left is held against all that it does the work of; else embeddings and outputs alone."""
    from edgekit.models.checkpoint import load, save
    from edgekit.models.stack import keep_blocks

    model = load(language.checkpoint, "AutoModelForCausalLM")
    save(keep_blocks(model, [0, 2]), tmp_path / "dropped", tokenizer_files_from=language.checkpoint)
    bundle = bundled(
        decoder(tmp_path / "dropped", tmp_path / "export", WORDS, max_length=64), tmp_path / "result", rounds=False
    )
    rewrite_manifest(
        bundle, lambda manifest: manifest["edgekit"].update(recipe={"compress": [{"method": "drop-blocks", "layers": 2}]})
    )
    assert diff(tmp_path / "dropped", bundle).first is None, "beside the checkpoint that it was exported from it is sound"
    found = diff(language.checkpoint, bundle)
    assert any("nothing says which stands for which" in note for note in found.notes)
    assert {one.part.kind for one in found.parts if one.so_far is not None} == {"embeddings", "head", "output"}

    stages = [{"key": "dropped", "metrics": {"kept": [0, 2]}}]
    variants = {"eager-fp32": {"folder": str(language.checkpoint)}}
    (bundle.parent / "lineage.json").write_text(
        json.dumps({"chain": ["original", "dropped"], "stages": stages, "variants": variants})
    )
    for found in (diff(language.checkpoint, bundle), diff(bundle.parent)):
        assert found.first is not None and found.first.part == Part("layer", 1), headline(found)
        assert any("layer 0 for 0, 1 for 1 to 2" in note for note in found.notes)


def test_pruned_heads_are_told_and_the_stream_is_compared(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    from edgekit.models.checkpoint import load, save
    from edgekit.models.shapes import cut

    model = load(tiny.checkpoint)
    cut(model, [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]], [list(range(40)), list(range(64)), list(range(64))])
    save(model, tmp_path / "pruned", tokenizer_files_from=tiny.checkpoint)
    found = diff(tmp_path / "pruned", sound)
    apart = {one.part: one.why_not for one in found.parts if one.why_not}
    assert apart == {Part("heads", 0): "32 channels beside 24", Part("neurons", 0): "64 channels beside 40"}
    assert found.first is not None and found.first.part == Part("attention", 0)
    assert any("32 channels beside 24" in line for line in explained(found))


def test_a_student_is_matched_by_what_its_recipe_says(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    import torch

    from edgekit.models.checkpoint import load, save
    from edgekit.models.shapes import keep_layers

    def with_layers(name: str, layers: list[int]) -> Path:
        model = load(tiny.checkpoint)
        keep_layers(model, layers)
        model.bert.encoder.layer = torch.nn.ModuleList(map(copy.deepcopy, model.bert.encoder.layer))
        save(model, tmp_path / name, tokenizer_files_from=tiny.checkpoint)
        return tmp_path / name

    unknown = diff(with_layers("shallow", [0, 2]), sound)
    assert any("nothing says which stands for which" in note for note in unknown.notes)
    assert [one.part for one in unknown.parts if one.so_far] == [Part("embeddings"), Part("head"), Part("output")]
    student = shutil.copytree(sound, tmp_path / "student")
    step = {"method": "distill", "layers": 3, "take": [1, 2, 4], "hidden": "none"}
    rewrite_manifest(student, lambda manifest: manifest["edgekit"].update(recipe={"compress": [step]}))
    found = diff(with_layers("deep", [0, 0, 1, 1, 2]), student)
    assert [one.reference.layer for one in found.parts if one.part.kind == "layer" and one.reference] == [1, 2, 4]
    assert any("layer 0 for 0 to 1, 1 for 2, 2 for 3 to 4" in note for note in found.notes)
    assert {one.part.kind for one in found.parts if one.so_far is not None} == {"embeddings", "layer", "head", "output"}


@pytest.mark.parametrize(
    ("steps", "kept", "wanted"),
    [
        ([{"method": "distill", "layers": 2, "hidden": "uniform"}], [None], [2, 5]),
        ([{"method": "distill", "layers": 3, "hidden": "last"}], [None], [3, 4, 5]),
        ([{"method": "distill", "layers": 3, "hidden": "skip"}], [None], [1, 3, 5]),
        ([{"method": "distill", "layers": 2, "hidden": "none"}], [None], [1, 4]),
        ([{"method": "distill", "layers": 2, "take": [0, 3], "hidden": "none"}], [None], [0, 3]),
        ([{"method": "drop-blocks", "layers": 2}], [[1, 4]], [1, 4]),
        ([{"method": "drop-blocks", "layers": 3}, {"method": "distill", "layers": 2, "take": [0, 2]}], [[1, 4, 5], None], [1, 5]),
        ([{"method": "prune-structured", "keep": 0.5}], [None], None),
    ],
)  # fmt: skip
def test_layers_stand_for_those_that_a_step_took_or_taught(
    steps: list[dict[str, object]], kept: list[list[int] | None], wanted: list[int | None] | None
) -> None:
    assert match_layers(3 if wanted is None else len(wanted), 6, steps, kept) == wanted


def test_a_few_large_channels_hide_nothing() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(50, 64))
    reference[:, 0] *= 1000
    other = reference.copy()
    other[:, 1:] += 0.5 * random.normal(size=(50, 63))
    other[7] += 20
    sums = Sums()
    sums.add(reference, other, reference, [f"token {number}" for number in range(50)])
    error = sums.error()
    assert error.relative < 0.05 < 0.4 < error.error and error.token == "token 7"


def test_parts_are_told_in_the_order_of_the_data() -> None:
    every = [
        Part(kind, layer) for kind in KINDS for layer in ((0, 1) if kind not in ("embeddings", "head", "output") else (None,))
    ]
    names = [part.name for part in in_order(reversed(every))]
    assert names[0] == "embeddings" and names[-2:] == ["head", "output"]
    assert names[1:7] == [
        "layer 0, keys",
        "layer 0, values",
        "layer 0, heads",
        "layer 0, attention",
        "layer 0, neurons",
        "layer 0",
    ]


def test_the_command(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    page, faulty = tmp_path / "page.html", bundled(tiny, tmp_path / "faulty", rounds=True, before=ENCODER["ReLU for GELU"].put)
    done = CliRunner().invoke(app, ["diff", str(tiny.checkpoint), str(faulty), "--page", str(page)])
    assert done.exit_code == 1, done.output
    assert "Layer 1, neurons is the first to leave the tolerance" in done.output
    assert max(map(len, done.stdout.splitlines()[3:10])) < 100
    assert "Layer 1, neurons" in page.read_text() and "<script" not in page.read_text()
    said = json.loads(CliRunner().invoke(app, ["diff", str(tiny.checkpoint), str(sound), "--json"]).stdout)
    assert said["first"] is None and len(said["parts"]) == 15


def test_what_is_outside_is_escaped(tiny: Subject, sound: Path) -> None:
    assert "<b>" not in render_page(replace(diff(tiny.checkpoint, sound), other="/x/<b>bold", notes=("<b>",)))


def test_what_stands_around_two_equal_graphs_is_said(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    """Labels in another order, a tokenizer that does not lower case: no part leaves the tolerance, and answers are others all the same."""
    labels, tokens = (shutil.copytree(sound, tmp_path / name) for name in ("labels", "tokens"))
    config = json.loads((labels / "config.json").read_text())
    names = list(reversed(config["id2label"].values()))
    config |= {
        "id2label": {str(at): name for at, name in enumerate(names)},
        "label2id": {name: at for at, name in enumerate(names)},
    }
    (labels / "config.json").write_text(json.dumps(config))
    rewrite_manifest(labels, lambda manifest: manifest["edgekit"]["labels"].reverse())
    reader = json.loads((tokens / "tokenizer.json").read_text())
    reader["normalizer"] = None
    (tokens / "tokenizer.json").write_text(json.dumps(reader))
    rewrite_manifest(tokens)
    for reference, other in ((sound, labels), (tiny.checkpoint, labels)):
        found = diff(reference, other)
        assert found.first is None and "output 0 is 'paint', and of the reference 'ask'" in found.notes[0]
    found = diff(tokens, sound)
    assert found.first is None and "tokenizers cut" in found.notes[0] and "golden inputs into other tokens" in found.notes[0]
    assert diff(sound, sound).notes == () and diff(tiny.checkpoint, sound).notes == ()


def test_numbers_that_are_none_are_told_and_written_as_json_has_them(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(bundled(tiny, tmp_path / "exact", rounds=False), tmp_path / "broken")
    model = ir.load(broken / MODEL)
    value = next(one for one in model.graph.initializers.values() if one.const_value and one.const_value.shape == [32])
    assert value.const_value is not None
    value.const_value = ir.tensor(np.full(32, np.nan, dtype=np.float32), name=value.name)
    ir.save(model, broken / MODEL)
    rewrite_manifest(broken)
    found = diff(sound, broken)
    assert (
        found.first is not None
        and "not finite" in found.first.why
        and any("no finite numbers" in line for line in explained(found))
    )
    assert "NaN" not in json.dumps(document(found), allow_nan=False) and "not finite" in render_page(found)


def test_tokens_and_lengths_that_a_checkpoint_has_not(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny.checkpoint, tmp_path / "other")
    vocabulary = json.loads((other / "tokenizer.json").read_text())
    words = vocabulary["model"]["vocab"]
    words[next(word for word in TEXTS[0].split() if word in words)] = 500  # of 200 rows
    (other / "tokenizer.json").write_text(json.dumps(vocabulary))
    assert diff(other, sound).left_out > 0
    config = json.loads((tiny.checkpoint / "config.json").read_text())
    short = shutil.copytree(tiny.checkpoint, tmp_path / "short")
    from safetensors.torch import load_file, save_file

    weights = load_file(short / "model.safetensors")
    name = next(name for name in weights if "position_embeddings" in name)
    save_file({**weights, name: weights[name][:4].clone()}, short / "model.safetensors", {"format": "pt"})
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4}))
    with pytest.raises(BadInput, match=r"transformers cannot run it on \d+ tokens"):
        diff(short, sound)


def test_little_that_is_compared_says_nothing_and_nothing_is_refused(tiny: Subject, sound: Path, tmp_path: Path) -> None:
    """A checkpoint of other widths ended with 0 and "No part leaves the tolerance", of which none had been compared."""
    from transformers import BertConfig, BertForSequenceClassification

    from edgekit.models.checkpoint import save

    def other(name: str, **differs: Any) -> Path:
        config = BertConfig.from_pretrained(tiny.checkpoint, **differs)
        save(BertForSequenceClassification(config), tmp_path / name, tokenizer_files_from=tiny.checkpoint)
        return tmp_path / name

    labels = len(json.loads((tiny.checkpoint / "config.json").read_text())["id2label"]) + 3
    narrow = other("narrow", hidden_size=16, num_attention_heads=2, intermediate_size=24, num_labels=labels)
    with pytest.raises(BadInput, match="nothing of both can be compared") as fault:
        diff(narrow, sound)
    assert any(f"channels beside {labels}" in one for one in fault.value.faults) and "channels beside 16" in fault.value.text()
    found = diff(tiny.checkpoint, sound)
    few = replace(found, inputs=1, left_out=29, verdicts=())
    assert few.too_little.startswith("29 of 30 golden inputs") and headline(few).startswith("Too little was compared")
    assert not found.too_little and document(found)["too_little"] is None and document(few)["too_little"]
    parts = tuple(
        replace(one, so_far=None, why_not="5 channels beside 8") if one.part == Part("output") else one for one in found.parts
    )
    without = replace(found, parts=parts, verdicts=())
    assert "outputs are not comparable (5 channels beside 8)" in headline(without)
    said = headline(replace(without, decodes=True))
    assert said.startswith("No part that was compared leaves the tolerance of ") and said.endswith("; the outputs were not.")
    words = tmp_path / "words"
    shutil.copytree(tiny.checkpoint, words)
    tokenizer = json.loads((words / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    for number, word in enumerate(sorted({word for text in TEXTS for word in text.split() if word in vocabulary})[::2]):
        vocabulary[word] = 500 + number  # of 200 rows
    (words / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = CliRunner().invoke(app, ["diff", str(words), str(sound), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["first"] is None and told["too_little"], "most inputs have tokens that it has not"


def test_what_cannot_be_compared_is_refused_in_one_message(
    tiny: Subject, sound: Path, language: Subject, tmp_path: Path
) -> None:
    def refused(*paths: Path) -> str:
        with pytest.raises(BadInput) as fault:
            diff(*paths)
        return fault.value.text()

    assert "no bundle" in refused(tiny.checkpoint, tiny.checkpoint)
    assert "lineage.json" in refused(sound)
    assert "a checkpoint alone" in refused(tiny.checkpoint)
    assert "no such file" in refused(tmp_path / "nowhere", sound)
    assert "no bundle here" in refused(tmp_path, sound)
    assert "a language model (llama) beside a bundle of text-classification" in refused(language.checkpoint, sound)
    other = bundled(language, tmp_path / "language", rounds=False)
    assert "a bundle of text-classification beside one of text-generation" in refused(other, sound)
    broken = shutil.copytree(sound, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"\0" * 10)
    rewrite_manifest(broken, lambda manifest: None)
    assert "model.onnx" in refused(tiny.checkpoint, broken)
    done = CliRunner().invoke(app, ["diff", str(tiny.checkpoint), str(tiny.checkpoint)])
    assert isinstance(done.exception, BadInput) and done.exception.exit_code == 2
    for page, words in (("no/such/page.html", "--page"), (".", "is a folder"), ("sound/manifest.json", "lies in a bundle")):
        shutil.copytree(sound, tmp_path / "sound", dirs_exist_ok=True)
        done = CliRunner().invoke(app, ["diff", str(tiny.checkpoint), str(tmp_path / "sound"), "--page", str(tmp_path / page)])
        assert isinstance(done.exception, BadInput) and words in done.exception.text()
    assert "is not a path" in refused(5, sound)  # type: ignore[arg-type]
