"""Strict reading of recipes and targets: every fault at once, with its line and the nearest known name."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from edgekit.config.quantize import Float16, Int8, Quantize
from edgekit.config.recipe import recipe_names
from edgekit.config.target import load_target, target_names
from edgekit.errors import BadInput
from edgekit.plan.recipes import load_recipe
from edgekit.tasks import find_task, task_names

GOOD = """schema = 1
task = "text-classification"
[model]
id = "somewhere/model"
[data]
builtin = "intents"
"""


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(str(path))


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(BadInput) as fault:
        read(tmp_path, text)
    assert fault.value.exit_code == 2
    return fault.value.text()


def test_a_good_recipe_is_read(tmp_path: Path) -> None:
    name, _, recipe = read(tmp_path, GOOD)  # type: ignore[misc]
    assert name == "mine"
    assert recipe.compress == []


def test_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    text = refused(tmp_path, GOOD + "[accept]\nmax_size_mbs = 3.0\n")
    assert "line 8, accept.max_size_mbs" in text
    assert "did you mean 'max_size_mb'?" in text


def test_unknown_method_names_nearest(tmp_path: Path) -> None:
    text = refused(tmp_path, GOOD + '[[compress]]\nmethod = "destill"\n')
    assert "did you mean 'distill'?" in text


def test_unknown_key_inside_a_method(tmp_path: Path) -> None:
    text = refused(tmp_path, GOOD + '[[compress]]\nmethod = "distill"\ntemprature = 3.0\n')
    assert "did you mean 'temperature'?" in text


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = refused(tmp_path, 'schema = 2\ntask = 3\n[model]\n[data]\nbuiltin = "intents"\nrows = -4\n')
    for place in ("schema", "task", "model", "rows"):
        assert place in text


def test_no_silent_conversion(tmp_path: Path) -> None:
    assert "seed" in refused(tmp_path, GOOD.replace("[model]", 'seed = "7"\n[model]'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("schema = ", "not valid TOML"),
        ("", "required, but missing"),
        (
            GOOD + '[[draft]]\nid = "a"\n[[draft]]\nid = "b"\n',
            "draft: a table is needed here, once: write [draft] for [[draft]]",
        ),
        ('draft = "a"\n' + GOOD, "draft: a table is needed here"),
        (GOOD.replace('builtin = "intents"', 'train = "a.jsonl"'), "test, validation missing"),
        (GOOD.replace('builtin = "intents"', 'builtin = "intents"\ntrain = "a.jsonl"'), "not both"),
        (GOOD.replace('id = "somewhere/model"', ""), "not both and not neither"),
        (GOOD + '[[compress]]\nmethod = "prune-structured"\n', "nothing to prune to"),
        (GOOD + '[[compress]]\nmethod = "prune-structured"\nkeep = 0.5\nlatency = 0.5\n', "not both"),
    ],
)
def test_malformed_recipes(tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(tmp_path, text)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"schema = 1\xff")
    with pytest.raises(BadInput, match="not UTF-8: byte 10"):
        load_recipe(str(path))


def test_missing_recipe_and_target() -> None:
    with pytest.raises(BadInput, match="no recipe named 'intends'") as fault:
        load_recipe("intends")
    assert "did you mean 'intents'?" in fault.value.text()
    with pytest.raises(BadInput, match="no target named"):
        load_target("x86-vnn")
    with pytest.raises(BadInput, match="no such file"):
        load_recipe("nowhere.toml")


@pytest.mark.parametrize("name", target_names())
def test_every_target_is_sound_and_commented(name: str) -> None:
    from edgekit.config.shipped import shipped_file

    target = load_target(name)
    assert target.name == name
    text = shipped_file("targets", name).read_text()
    assert text.startswith(f"# edgekit export intents --target {name}\n"), "a target opens with the command that uses it"
    assert text.count("#") >= 6, "each value has its reason in a comment"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_sound(name: str) -> None:
    from edgekit.config.shipped import shipped_file

    _, _, recipe = load_recipe(name)
    assert recipe.task in task_names()
    assert shipped_file("recipes", name).read_text().startswith(f"# edgekit export {name}\n")


@pytest.mark.parametrize("name", task_names())
def test_every_task_has_its_decoder(name: str) -> None:
    from edgekit.runtime.processors import processor

    task = find_task(name)
    assert task.columns
    assert all(map(callable, (processor(name).prepare, processor(name).answer, processor(name).line)))


def test_task_names_are_optimums() -> None:
    from optimum.exporters.tasks import TasksManager

    own = {
        "image-feature-extraction",
        "multi-label-classification",
        "text-ranking",
        "text-regression",
        "zero-shot-classification",
    }  # of the hub, or of a head
    assert set(task_names()) - own <= set(TasksManager.get_all_tasks())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Float16(format="float16"), "float16 on the CPU"),
        (Int8(activations="int8"), "no fast x86 kernel"),
    ],
)
def test_a_target_refuses_what_cannot_work(change: Quantize, says: str) -> None:
    faults = load_target("x86-vnni").unsound(change)
    assert any(says in fault for fault in faults)


def test_cuda_refuses_int8() -> None:
    target = load_target("cuda")
    assert "no integer MatMul kernels" in target.unsound(Int8())[0]


@pytest.mark.parametrize("word", ["avx512_vni", "dotprod"])
def test_an_instruction_set_that_no_machine_of_the_architecture_names_is_refused(word: str, tmp_path: Path) -> None:
    from edgekit.config.shipped import shipped_file

    path = tmp_path / "x86-vnni.toml"
    path.write_text(shipped_file("targets", "x86-vnni").read_text().replace('"avx512_vnni"', f'"{word}"'))
    with pytest.raises(BadInput, match=f"no instruction sets of x86_64: {word}"):
        load_target(str(path))


def test_unknown_session_key_is_refused(tmp_path: Path) -> None:
    from edgekit.config.shipped import shipped_file

    path = tmp_path / "x86-vnni.toml"
    path.write_text(
        shipped_file("targets", "x86-vnni").read_text().replace("session.force_spinning_stop", "session.allow_spining")
    )
    with pytest.raises(BadInput, match="ignore them in silence"):
        load_target(str(path))


HOSTILE = {
    "a dotted key": (".".join("a" * 9999) + " = 1", "a dotted key of more than 32 names"),
    "a dotted header": ("[" + ".".join("a" * 9999) + "]", "a dotted key of more than 32 names"),
    "a dotted key of quoted names": ("'a b'." * 9999 + "c = 1", "a dotted key of more than 32 names"),
    "lists": ("a = " + "[" * 5000 + "]" * 5000, "nested deeper than 32"),
    "lists over lines": ("a = " + "[\n# ]\n" * 5000, "nested deeper than 32"),
    "tables": ("a = " + "{a = " * 5000, "nested deeper than 32"),
    "lists after strings": ("a = ['''[''', \"\"\"\\\"\"\"[\"\"\", '\\', \"\\\"\", " + "[" * 32, "nested deeper than 32"),
    "digits": ("a = " + "1" * 5000, "a number of more than 100 digits"),
    "digits apart": ("a = " + "1_" * 5000 + "1", "a number of more than 100 digits"),
    "hexadecimal digits": ("a = 0x" + "f" * 5000, "an integer beyond 64 bits"),
    "a large integer in a list": ("a = [{b = [9223372036854775808]}]", "an integer beyond 64 bits"),
    "NUL": ("a = [{b = [\"x\\u0000\"]}]", "'b' holds a NUL"),
    "NUL in a key": ('"a\\u0000" = 1', "holds a NUL"),
    "a raw NUL": ("\0", "not valid TOML"),
    "a string without an end": ('a = """' + '\\"' * 9999, "not valid TOML"),
    "larger than any": ("#" * 500_001, "larger than 500,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_toml(tmp_path: Path, name: str) -> None:
    """One short message, whatever the parser would have made of it."""
    text, says = HOSTILE[name]
    told = refused(tmp_path, text)
    assert says in told
    assert len(told) < 500


@pytest.mark.parametrize("table", ["[[compress]]\nmethod = 'distill'\n", ""])
def test_work_on_many_faults_is_linear(tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are told, with their lines, and only those are looked into."""
    looked: list[str] = []
    nearest = difflib.get_close_matches
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda word, *rest, **named: looked.append(word) or nearest(word, *rest, **named)
    )
    told = refused(tmp_path, GOOD + table + "".join(f"key{number} = 1\n" for number in range(20_000)))
    assert len(looked) <= 45
    assert len(told) < 20_000
    assert "line 1" in told


@pytest.mark.parametrize("dots", ['"a.b.c.d"', "'x'", '"""a.b\n[[[["""'])
def test_brackets_and_dots_of_text_are_text(dots: str) -> None:
    from edgekit.config.toml import _check_structure

    _check_structure(
        "".join(f"a{number} = {dots}\n" for number in range(1000)) + "# [[[" * 100 + "\n[a.'b.c'.\"d\"]\nx.y = 1.5\n"
    )


def test_a_mark_before_the_first_character_is_none_of_it(tmp_path: Path) -> None:
    """Windows' editors write one, and carriage returns."""
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode().removesuffix(b"\r\n"))
    assert load_recipe(str(path)) == read(tmp_path, GOOD)
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        path.write_bytes(GOOD.encode(encoding))
        with pytest.raises(BadInput, match="as UTF-8"):
            load_recipe(str(path))


def test_steps_without_end(tmp_path: Path) -> None:
    """Each is planned after all before it: five thousand took ten seconds."""
    step = "[[compress]]\nmethod = 'prune-structured'\nkeep = 0.9\n"
    read(tmp_path, GOOD + step * 100)
    assert "compress: list should have at most 100 items" in refused(tmp_path, GOOD + step * 5_000)


def test_no_file(tmp_path: Path) -> None:
    """A pipe is not waited for, a device not read."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name, says in (("pipe", "a named pipe"), ("zero", "a device")):
        with pytest.raises(BadInput, match=says):
            load_recipe(str(tmp_path / f"{name}.toml"))


@pytest.mark.parametrize("value", ["true", "1.0"])
def test_what_is_no_whole_number_is_no_version(tmp_path: Path, value: str) -> None:
    assert f"schema: input should be a whole number (given: {value.title()})" in refused(tmp_path, f"schema = {value}\n")


@pytest.mark.parametrize(
    ("written", "encoder", "decoder"),
    [("", 1, "auto"), ("threads = 4", 4, 4), ('threads = "auto"', "auto", "auto"), ('threads = { encoder = "auto" }', "auto", "auto"),
     ("threads = { decoder = 2 }", 1, 2)],
)  # fmt: skip
def test_threads_of_a_target_are_one_value_or_one_a_kind(
    tmp_path: Path, written: str, encoder: int | str, decoder: int | str
) -> None:
    threads = load_target(str(target_with(tmp_path, f"[session]\n{written}\n"))).session.threads
    assert (threads.encoder, threads.decoder) == (encoder, decoder)


@pytest.mark.parametrize("wrong", ["0", "257", '"all"', "true", "1.0", "[1]", '{ encoder = "many" }', "{ decoder = 0 }"])
def test_threads_that_are_none_are_one_fault(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(BadInput) as fault:
        load_target(str(target_with(tmp_path, f"[session]\nthreads = {wrong}\n")))
    (said,) = fault.value.faults
    assert 'a whole number from 1 to 256, or "auto"' in said and "session.threads" in said


def target_with(folder: Path, more: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(f'schema = 1\nname = "mine"\ntitle = "Mine"\narch = "x86_64"\nrank = 0\n{more}', encoding="utf-8")
    return path


def test_shipped_targets_leave_a_language_models_threads_to_the_device() -> None:
    threads = {target.provider: target.session.threads for target in map(load_target, target_names())}
    assert (threads["CPUExecutionProvider"].encoder, threads["CPUExecutionProvider"].decoder) == (1, "auto")
    assert threads["CUDAExecutionProvider"].decoder == threads["TensorrtExecutionProvider"].decoder == 1
