"""The whole line on a small recipe, as a person types it: export, again, verify, run, measure, tamper, kill, resume."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from edgekit.bench.variants import seen_from_here
from edgekit.config.target import load_target
from edgekit.host import detect
from edgekit.pack.bundle import write_manifest
from edgekit.pipeline import execute
from edgekit.store import produce
from tests.command_line import edgekit
from tests.conftest import PYTHONPATH
from tests.report.made_up import write_result
from tests.short_measure import short_measure
from tests.waiting import files_at, wait_for

HERE = "x86-avx2" if detect().arch == "x86_64" else "arm64-neon"
THERE = "arm64-dotprod" if detect().arch == "x86_64" else "x86-vnni"
RECIPE = """schema = 1
task = "text-classification"
[model]
max_length = 32
licence = "apache-2.0"
[model.new]
layers = 2
width = 32
heads = 4
neurons = 64
vocabulary = 200
epochs = 24
learning_rate = 3e-3
batch = 8
[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
[calibration]
rows = 32
[[compress]]
method = "distill"
layers = 1
epochs = 4
batch = 8
learning_rate = 3e-3
[[compress]]
method = "prune-structured"
keep = 0.6
rows = 64
multiple_of = 8
[[compress]]
method = "prune-vocabulary"
[accept]
max_quality_drop = 0.5
max_size_mb = 5.0
"""


def recipe_in(folder: Path) -> str:
    """The recipe, with one file by its whole path, as some write it."""
    return RECIPE.replace('"train.jsonl"', f'"{folder}/train.jsonl"')


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def place(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    for split in ("train", "validation", "test"):
        shutil.copy(tiny_data / f"{split}.jsonl", folder)
    (folder / "small.toml").write_text(recipe_in(folder))
    return folder


@pytest.fixture(scope="module")
def watched() -> dict[str, list[str]]:
    """The store's folders that the run of `result` `made`, and those it `touched` after they were finished."""
    return {}


@pytest.fixture(scope="module")
def result(place: Path, watched: dict[str, list[str]]) -> Path:
    made: dict[Path, int] = {}

    def watching(*arguments: Any) -> Any:
        artifact = produce(*arguments)
        made[artifact.path.resolve()] = artifact.path.stat().st_mtime_ns
        return artifact

    with patch.object(execute, "produce", watching), short_measure(processes=1):
        done = edgekit("export", "small.toml", "--target", HERE, "--target", THERE, cwd=place)
    assert done.returncode == 0, done.stderr
    watched["made"] = [str(folder) for folder in made]
    watched["touched"] = [str(folder) for folder, mtime_ns in made.items() if folder.stat().st_mtime_ns != mtime_ns]
    return place / "build" / f"small-{HERE}"


def test_a_result_folder_holds_everything(result: Path) -> None:
    there = {path.name for path in result.iterdir()}
    assert {"bundle", "bundle.tar.gz", "runner.pyz", "lineage.json", "bench.json", "report.html", "report.md"} <= there
    manifest = json.loads((result / "bundle" / "manifest.json").read_text())
    assert manifest["edgekit"]["quality"]["n"] == 20
    assert len(json.loads((result / "bundle" / "golden.json").read_text())["rows"]) >= 25
    assert json.loads((result / "bundle" / "audit.json").read_text())["ok"] is True


def test_nothing_of_this_machine_is_in_the_result(result: Path, place: Path) -> None:
    """Neither the recipe's folder, though it names rows by their whole path, nor the home folder, nor where packages lie."""
    for path in (*result.iterdir(), *(result / "bundle").iterdir()):
        if path.is_file():
            for word in (str(place), str(Path.home()) + "/", "/site-packages/"):
                assert word.encode() not in path.read_bytes(), (path.name, word)


def test_the_build_folder_can_be_moved(result: Path, place: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(place / "build", tmp_path / "moved", symlinks=True) / result.name
    lineage = seen_from_here(json.loads((moved / "lineage.json").read_text()), moved)
    for path in [lineage["rows"], *(variant["folder"] for variant in lineage["variants"].values())]:
        assert Path(path).exists() and Path(path).resolve().is_relative_to(tmp_path), path
    for link in moved.glob("variants/*/*"):
        assert link.is_file() and link.resolve().is_relative_to(tmp_path), link
    assert all((moved / stage["path"] / "stage.json").is_file() for stage in lineage["stages"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [("bundle/README.md", "README.md: sha256"), ("variants/bundle/model.onnx", "not the bundle's: model.onnx")],
)
def test_what_is_not_the_bundle_is_not_measured(result: Path, place: Path, tmp_path: Path, changed: str, words: str) -> None:
    moved = shutil.copytree(place / "build", tmp_path / "build", symlinks=True) / result.name
    data = bytearray((moved / changed).read_bytes())
    data[len(data) // 2] ^= 1
    (moved / changed).unlink()
    (moved / changed).write_bytes(data)
    done = edgekit("bench", str(moved), "--quick", cwd=place)
    assert done.returncode == 1 and words in done.stderr, done.stderr


def test_no_stage_writes_where_another_left_its_result(result: Path, watched: dict[str, list[str]]) -> None:
    """Runs side by side read each other's results: a file that comes and goes there makes a result look corrupt to the others."""
    assert len(watched["made"]) > 10
    assert watched["touched"] == []


def fields(document: object, path: str = "") -> set[str]:
    """Paths of all fields of a JSON document; "*" for the items of a list, and for names that a run or a machine chooses."""
    if isinstance(document, list):
        return {field for item in document for field in fields(item, f"{path}.*")}
    if not isinstance(document, dict):
        return {f"{path}: {type(document).__name__.replace('int', 'float')}"}
    chosen = path.rpartition(".")[2] in {"variants", "fused", "assets", "tools", "phases", "kernels_run"}
    return {path}.union(*(fields(item, f"{path}.{'*' if chosen else name}") for name, item in document.items()))


@pytest.mark.parametrize("name", ["lineage.json", "bundle/manifest.json", "bundle/audit.json", "bench.json"])
def test_the_result_that_reports_are_tested_with_has_the_fields_of_this_one(result: Path, tmp_path: Path, name: str) -> None:
    """Else the report's tests would go on passing when a writer renames a field."""
    made, real = (fields(json.loads((folder / name).read_text())) for folder in (write_result(tmp_path / "made-up"), result))
    settings = (".recipe.compress.*", ".recipe.accept", ".edgekit.recipe", ".stages.*.metrics")  # of other steps
    nullable = {field.partition(":")[0] for field in real if field.endswith(": NoneType")}
    unknown = {
        field
        for field in made - real
        if not field.startswith(settings) and field.partition(":")[0] not in nullable and not field.endswith(": NoneType")
    }
    assert not unknown
    assert len(made & real) > 15


def test_another_target_is_exported_and_not_timed(result: Path, place: Path) -> None:
    other = place / "build" / f"small-{THERE}"
    assert (other / "bundle" / "manifest.json").is_file()
    assert not (other / "bench.json").exists()
    assert json.loads((other / "bundle" / "audit.json").read_text())["kernels_observed"] is False
    done = edgekit("bench", str(other), cwd=place)
    assert done.returncode == 3
    assert "cannot be measured on this machine" in done.stderr
    assert edgekit("run", str(other), "hello", cwd=place).returncode == 3


def test_targets_share_compress_and_export(result: Path, place: Path) -> None:
    count = {folder.name: len(list(folder.iterdir())) for folder in (place / "build" / "store").iterdir()}
    assert count["train"] == count["distill"] == count["prune-structured"] == count["prune-vocabulary"] == 1
    assert count["export"] == 4
    assert count["pack"] == 2


def test_a_second_run_is_up_to_date_and_changes_no_byte(result: Path, place: Path) -> None:
    before = sums(result) | sums(result / "bundle")
    done = edgekit("export", "small.toml", "--target", HERE, "--target", THERE, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert sums(result) | sums(result / "bundle") == before


def test_the_plan_says_that_all_is_done(result: Path, place: Path) -> None:
    done = edgekit("plan", "small.toml", "--target", HERE, "--json", cwd=place)
    assert {stage["state"] for stage in json.loads(done.stdout)["stages"]} == {"done"}


def test_the_archive_is_reproducible_and_is_the_bundle(result: Path, tmp_path: Path) -> None:
    from edgekit.pack.archive import write_archive

    write_archive(result / "bundle", tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == (result / "bundle.tar.gz").read_bytes()
    with tarfile.open(result / "bundle.tar.gz") as tar:
        assert {member.name for member in tar} == {f"bundle/{path.name}" for path in (result / "bundle").iterdir()}
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}


def test_verify_and_run(result: Path, place: Path) -> None:
    for bundle in (result, result / "bundle", result / "bundle.tar.gz"):
        done = edgekit("verify", str(bundle), "--json", cwd=place)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ok"] is True
    done = edgekit("run", str(result), "turn on the red light in the hall", "paint the hall blue", "--json", cwd=place)
    answers = json.loads(done.stdout)
    assert [answer["label"] for answer in answers] == ["on", "paint"]


TEXTS: list[tuple[str, int, str]] = [
    ("", 2, "empty"),
    ("   \t", 2, "empty"),
    ("light 🙂🙏🏽", 0, ""),
    ("أشعل الضوء", 0, ""),
    ("word " * 20_000, 0, "truncated"),
]


@pytest.mark.parametrize(("text", "code", "says"), TEXTS)
def test_odd_texts(result: Path, place: Path, text: str, code: int, says: str) -> None:
    done = edgekit("run", str(result), text, "--json", cwd=place)
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "code"),
    [(b"paint\xff", 2), (b"", 2), (b"paint the hall\n" + b"a" * 1_000_000 + b"\n", 0)],
    ids=["not UTF-8", "nothing", "a megabyte"],  # pytest puts the id into the environment, where a megabyte has no place
)
def test_odd_standard_input(result: Path, place: Path, given: bytes, code: int) -> None:
    done = subprocess.run(
        [sys.executable, str(result / "runner.pyz"), "run", str(result)], input=given, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr


BLOCK = """
import runpy, sys
ALLOWED = {"numpy", "onnxruntime", "tokenizers"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        head = name.partition(".")[0]
        known = head in sys.stdlib_module_names or head in ALLOWED or head in {"edgekit", "__main__"} or head.startswith("_")
        if not known and path is None:
            raise ModuleNotFoundError(f"{name} is not on a device", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("verb", [["run", "paint the hall blue"], ["verify"], ["info"]])
def test_the_runner_needs_three_packages_alone(result: Path, tmp_path: Path, verb: list[str]) -> None:
    """Every other third-party import is refused: numpy, onnxruntime, tokenizers and the standard library must do."""
    command = [
        sys.executable,
        "-c",
        BLOCK,
        str(result / "runner.pyz"),
        verb[0],
        str(result / "bundle.tar.gz"),
        *verb[1:],
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_the_runner_measures_without_torch(result: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(result / "runner.pyz"),
        "bench",
        str(result / "bundle"),
        "--processes",
        "2",
        "--seconds",
        "0.1",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["variants"][0]["scenarios"][0]["n"] >= 200
    assert document["variants"][0]["memory"]["peak_mb"] > 0


def test_the_measurement_has_all_baselines(result: Path) -> None:
    document = json.loads((result / "bench.json").read_text())
    names = {variant["name"] for variant in document["variants"]}
    assert {
        "eager-fp32",
        "ort-fp32",
        "ort-int8-stock",
        "after-0-none",
        "after-1-distill",
        "after-2-prune-structured",
        "bundle",
    } == names
    assert document["protocol"]["interleaved"] is True
    for variant in document["variants"]:
        assert variant["quality"]["n"] == 20
        assert variant["scenarios"][0]["n"] > 0
    assert {ratio["against"] for ratio in document["ratios"]} == names - {"bundle"}


def test_one_flipped_bit_is_found(result: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(result / "bundle", tmp_path / "bundle")
    data = bytearray((tmp_path / "bundle" / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bundle" / "model.onnx").write_bytes(bytes(data))
    done = edgekit("verify", str(tmp_path / "bundle"), cwd=place)
    assert done.returncode == 1
    assert "model.onnx: sha256" in done.stderr


def test_a_missing_provider_never_runs_on_the_cpu(result: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(result / "bundle", tmp_path / "bundle")
    text = (tmp_path / "bundle" / "manifest.json").read_text()
    write_manifest(tmp_path / "bundle", json.loads(text.replace("CPUExecutionProvider", "CUDAExecutionProvider")))
    done = edgekit("run", str(tmp_path / "bundle"), "hello", cwd=place)
    assert done.returncode == 3
    assert "CUDAExecutionProvider is not in this onnxruntime" in done.stderr


def test_a_missed_budget_ends_with_1_and_keeps_the_bundle(result: Path, place: Path) -> None:
    (place / "strict.toml").write_text(RECIPE.replace("max_size_mb = 5.0", "max_size_mb = 0.001"))
    done = edgekit("export", "strict.toml", "--target", HERE, "--no-bench", cwd=place)
    assert done.returncode == 1
    assert "asked was at most 0.001 MB" in done.stdout
    assert (place / "build" / f"strict-{HERE}" / "bundle" / "manifest.json").is_file()


def test_a_corrupt_store_entry_is_named_and_made_again(result: Path, place: Path) -> None:
    (entry,) = (place / "build" / "store" / "calibration").iterdir()
    (entry / "calibration.jsonl").write_text("{}\n")
    done = edgekit("export", "small.toml", "--target", HERE, "--no-bench", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "corrupt entry of stage calibration" in done.stderr
    assert "{}" not in (entry / "calibration.jsonl").read_text()


def test_killed_and_started_again_it_ends_in_the_same_bytes(result: Path, place: Path, tmp_path: Path) -> None:
    """Kill the run in the stage after the fifth, then let it finish: the bundle has the same bytes. tests/kills kills at any moment."""
    for split in ("train", "validation", "test"):
        shutil.copy(place / f"{split}.jsonl", tmp_path)
    (tmp_path / "small.toml").write_text(recipe_in(tmp_path))
    command = [sys.executable, "-m", "edgekit", "export", "small.toml", "--target", HERE, "--no-bench"]
    threads = {"OMP_NUM_THREADS": "1"}  # as many as torch has in this process
    environment = {**os.environ, **threads, "PYTHONPATH": PYTHONPATH}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    wait_for(lambda: process.poll() is not None or len(files_at(f"{tmp_path}/build/store/*/*/stage.json")) >= 5)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = edgekit(*command[3:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sums(tmp_path / "build" / f"small-{HERE}" / "bundle") == sums(result / "bundle")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that can hold two megabytes, where this user may mount one."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=False)


def test_a_full_disk_ends_with_3(result: Path, place: Path, full_disk: Path) -> None:
    (full_disk / "fill").write_bytes(b"\0" * 1_900_000)
    done = edgekit("export", "small.toml", "--target", HERE, "--build", str(full_disk / "build"), cwd=place)
    assert done.returncode == 3, done.stderr
    assert "no space left" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_the_python_face(result: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import edgekit as ek

    monkeypatch.chdir(place)
    ek.export("small.toml", target=HERE, measure=False)
    made: Any = ek.export("small.toml", target=HERE, measure=False)  # again: what the first call imported hides nothing
    assert made.path.name == f"small-{HERE}"
    answer = ek.load(made.path)("turn off the green light in the office")
    assert answer["label"] == "off"


def test_no_room_is_named_like_a_part_of_the_face() -> None:
    import pkgutil

    import edgekit as ek

    assert not {info.name for info in pkgutil.iter_modules(ek.__path__)} & set(ek.__all__)


def test_the_target_here_matches_this_host() -> None:
    if load_target(HERE).lacks(detect()):
        pytest.skip(f"this chip is older than {HERE}")
    assert load_target(HERE).matches(detect())
