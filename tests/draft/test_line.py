"""The one line as a stranger types it: a model folder and a table with names and labels of its own, to a bundle that verifies."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

from typer.testing import CliRunner

import edgekit as ek
from edgekit.cli.app import app
from tests.conftest import tiny_rows


def test_from_a_table_with_numbered_labels_to_a_verified_bundle(tiny_model: Path, tmp_path: Path) -> None:
    labels = json.loads((tiny_model / "config.json").read_text())["id2label"]
    numbers = {name: number for number, name in labels.items()}
    with (tmp_path / "tickets.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["id", "what they wrote", "kind", "opened"])
        rows = [row for split in tiny_rows().values() for row in split]
        table.writerows(
            [number, row["text"], numbers[row["label"]], f"2026-01-{number % 28 + 1:02}"] for number, row in enumerate(rows)
        )
    line = ["--model", str(tiny_model), "--data", str(tmp_path / "tickets.csv"), "--max-length", "24", "--name", "tickets"]
    made = CliRunner().invoke(app, ["export", *line, "-t", "x86-avx2", "--no-bench", "--build", str(tmp_path / "build")])
    assert made.exit_code == 0, made.output
    result = tmp_path / "build" / "tickets-x86-avx2"
    recipe = tomllib.loads((tmp_path / "build" / "tickets.toml").read_text())
    assert recipe["data"]["labels"] == labels and recipe["data"]["columns"] == {"text": "what they wrote", "label": "kind"}
    manifest = json.loads((result / "bundle" / "manifest.json").read_text())["edgekit"]
    assert manifest["quality"]["metric"] == "accuracy" and manifest["quality"]["original"] > 0.9
    assert ek.load(result / "bundle")("turn off the red light in the hall")["label"] == "off"
    assert CliRunner().invoke(app, ["verify", str(result)]).exit_code == 0
    again = CliRunner().invoke(
        app,
        [
            "export",
            str(tmp_path / "build" / "tickets.toml"),
            "-t",
            "x86-avx2",
            "--no-bench",
            "--build",
            str(tmp_path / "build"),
        ],
    )
    assert again.exit_code == 0 and "up to date" in again.output, "the line can be repeated by its recipe"
