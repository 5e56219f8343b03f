"""A language model on a device: sent with its weights beside the graph, hashed, verified, measured by tokens, and judged by its memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.device.fleet import bench_on_devices
from edgekit.device.inventory import Device
from edgekit.device.parts import parts_of
from edgekit.device.preflight import Facts, unfit
from edgekit.errors import CheckFailed
from edgekit.pack.runner import write_runner
from edgekit.progress import Show
from edgekit.runtime.bench.prompts import prompts_that_fit
from edgekit.runtime.bundle.open import open_bundle
from edgekit.runtime.generate.generation import Generation
from tests.device.loopback import QUICK, Server, drop_after
from tests.runtime.serve.serving import make_bundle

SILENT = Show(silent=True)
MB = 1_000_000


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "result", "text-generation")


def test_it_is_verified_and_measured(sshd: Server, writer: Path) -> None:
    (found,) = bench_on_devices(writer, [sshd.device("writer")], show=SILENT, **QUICK)
    assert found.fault is None, found.fault.text()
    assert found.result is not None
    manifest = open_bundle(writer).manifest
    assert {"model.onnx", "model.onnx.data"} <= set(manifest.assets), "the weights are a file of their own, and travel"
    assert found.result["verify"]["ok"] and found.result["verify"]["golden"] == manifest.golden.count
    bench = found.result["bench"]
    lengths = prompts_that_fit(128)
    names = {one["name"] for one in bench["variants"][0]["scenarios"]}
    assert names == {"real"} | {f"{part}-{length}" for length in lengths for part in ("first", "token")}
    assert bench["memory_gb_s"]["readings"] == 1
    assert sshd.left("writer") == []


def test_the_table_shows_the_time_of_a_token(sshd: Server, writer: Path, tmp_path: Path) -> None:
    device = sshd.device("writer")
    file = tmp_path / "devices.toml"
    values = device.model_dump(exclude_none=True).items()
    file.write_text("[[device]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values))
    command = ["bench", str(writer), "--inventory", str(file), "--processes", "1", "--seconds", "0.05"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    row = next(line for line in done.output.splitlines() if line.startswith("writer"))
    result = json.loads((writer.parent / "devices" / "writer.json").read_text())
    real = next(one for one in result["bench"]["variants"][0]["scenarios"] if one["name"] == "real")
    assert "real" in row and f"{real['p50_ms']:.3f}" in row


def test_weights_that_changed_here_are_not_sent(sshd: Server, writer: Path) -> None:
    weights = writer / "model.onnx.data"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckFailed, match=r"model\.onnx\.data: sha256"):
        bench_on_devices(writer, [sshd.device("weights")], show=SILENT, **QUICK)
    assert not (sshd.home / "weights").exists()


def test_weights_that_change_behind_the_link(sshd: Server, proxied: Callable[..., Device], writer: Path) -> None:
    """A part of the weights that rotted on the device between two runs is sent anew."""
    write_runner(writer.parent / "runner.pyz")
    parts = parts_of(open_bundle(writer), writer.parent / "runner.pyz")
    before = itertools.takewhile(lambda part: part.name != "bundle/model.onnx.data", parts)
    sent = sum(part.size for part in before) + 200_000
    (first,) = bench_on_devices(
        writer,
        [proxied(drop_after(sent, sshd.home / "rot/edgekit/*/bundle-model.onnx.data.part"), "rot")],
        show=SILENT,
        **QUICK,
    )
    assert first.fault is not None and "the link broke" in first.fault.text()
    runs = sorted((sshd.home / "rot/edgekit").iterdir())
    rotten = [
        part for run in runs for part in run.glob("*.part")
    ]  # not rglob, which trips over a folder that is removed meanwhile
    assert rotten
    for part in rotten:
        part.write_bytes(bytes(byte ^ 1 for byte in part.read_bytes()))
    (second,) = bench_on_devices(writer, [sshd.device("rot")], show=SILENT, **QUICK)
    assert second.fault is None, second.fault.text()
    assert second.result is not None and second.result["verify"]["ok"]


FINE: dict[str, Any] = {
    "python": "3.12.1", "machine": "x86_64", "glibc": "2.36", "cpuinfo": "", "disk_free": 900 * MB,
    "packages": {"numpy": "2.1.0", "onnxruntime": "1.31.0", "tokenizers": "0.22"},
}  # fmt: skip


@pytest.mark.parametrize(("free", "fits"), [(378 * MB, False), (379 * MB, True)])
def test_the_memory_of_a_long_context_counts(writer: Path, free: int, fits: bool) -> None:
    """16 layers of 4 heads of 64 numbers: 32,768 bytes a token; two caches of 4,096 tokens, for a prompt of 2,048 and 16 after it."""
    manifest = open_bundle(writer).manifest
    generation = Generation(32_768, (2,), 1, layers=16, kv_heads=4, head_size=64, chat_template=None)
    deep = replace(manifest, target=replace(manifest.target, arch="x86_64"), generation=generation)
    found = unfit(Facts(**FINE, memory_available=free), deep, to_send=0, whole=20 * MB)
    assert (found == []) is fits, found
    assert fits or "of memory are free" in found[0]


def test_the_reading_of_memory_needs_its_arrays(writer: Path) -> None:
    manifest = open_bundle(writer).manifest
    manifest = replace(manifest, target=replace(manifest.target, arch="x86_64"), variant=replace(manifest.variant, threads=4))
    (found,) = unfit(Facts(**FINE, memory_available=500 * MB), manifest, to_send=0, whole=1 * MB)
    assert "500 MB of memory are free, about 627 MB are needed" in found
