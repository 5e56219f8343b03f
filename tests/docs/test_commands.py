"""Every command that a page shows is run, in the order of the page, by a reader who has the files that the pages speak of.

A comment above a block says where that is not so: `<!-- parsed only: WHY -->` needs a network, a device or hours, so that its options are
only compared with what the commands take; `<!-- exit 1 -->` shows what ends with another code than 0. Blocks are found here, not listed.
"""

from __future__ import annotations

import ast
import csv
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.config.target import Target, best_target
from edgekit.device.inventory import Inventory
from edgekit.errors import EdgekitError
from edgekit.host import detect
from edgekit.plan.recipes import recipe_model
from tests.conftest import PYTHONPATH, tiny_rows
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block, blocks_of, inline_commands, words
from tests.runtime.serve.serving import make_bundle
from tests.short_measure import short_measure
from tests.tiny_decoders import checkpoint

LANGUAGES = {"console", "js", "toml", "python", "text"}
"""JavaScript is run by tests/web/test_docs.py."""
COMMAND: Any = typer.main.get_command(app)
HERE = best_target(detect()).name
START = ["export", "--model", "./my-classifier", "--data", "tickets.csv"]
"""What all pages begin with: its result is there on each."""
SHORTER = {"export": ["--no-bench"], "bench": ["--processes", "1", "--seconds", "0.05"]}
"""What is added to a command where it runs here: measuring takes minutes."""


def test_blocks_are_of_languages_that_are_tested() -> None:
    for block in BLOCKS:
        assert block.language in LANGUAGES or block.language.startswith("{"), (
            f"{block.name}: a block of {block.language or 'no language'!r}, which no test reads; one of {sorted(LANGUAGES)}"
        )
        if block.language != "console":
            assert not re.search(r"^\$ ", block.text, flags=re.M), f"{block.name}: commands stand in blocks of `console`"
        elif not block.commands():
            raise AssertionError(f"{block.name}: a block of `console` without a command")
        if block.note and block.note[0] == "parsed only":
            assert len(block.note[1]) > 10, f"{block.name}: why is it only parsed?"


def parse(arguments: list[str]) -> None:
    """Compare one command of edgekit with what its command takes; raises where it has other options or too few arguments."""
    name, *rest = arguments
    if name.startswith("-"):
        COMMAND.make_context("edgekit", list(arguments), resilient_parsing=True)
        return
    assert name in COMMAND.commands, f"edgekit has no command {name!r}"
    COMMAND.commands[name].make_context(name, list(rest))


def only_parse(block: Block, command: str) -> None:
    """What can be told of a command without running it."""
    for part in re.split(r"\s*(?:\||&&|;)\s*", command):
        given = words(part)
        if given[0] == "edgekit":
            parse(given[1:])
        elif given[0] == "make":
            known = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
            targets = [word for word in given[1:] if "=" not in word]
            assert set(targets) <= set(known), f"{block.name}: make has no {targets}"
        for verb in re.findall(r"python3? \S*runner\.pyz (\w+)", part):
            assert f'"{verb}"' in (ROOT / "edgekit" / "runtime" / "main.py").read_text(), (
                f"{block.name}: the runner has no {verb}"
            )
        for extra in re.findall(r"edgekit\[([a-z,]+)\]", part):
            known = re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.M)
            assert set(extra.split(",")) <= set(known), f"{block.name}: no extra {extra}"


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.note and block.note[0] == "parsed only"], ids=lambda block: block.name
)
def test_what_is_only_parsed_has_options_that_there_are(block: Block) -> None:
    if block.language == "console":
        for command in block.commands():
            only_parse(block, command)
    elif block.language == "python":
        import edgekit

        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("ek", "edgekit"):
                assert node.attr in edgekit.__all__


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=lambda block: block.name)
def test_toml_is_of_a_recipe_a_target_or_devices(block: Block) -> None:
    """Whole files as they stand; a table of a recipe in a recipe that has what else it needs."""
    given = tomllib.loads(block.text)
    if "device" in given:
        Inventory.model_validate(given)
    elif "arch" in given:
        Target.model_validate(given)
    else:
        least = {"schema": 1, "task": "text-classification", "model": {"id": "m"}}
        data = {} if {"file", "train", "builtin"} & set(given.get("data", ())) else {"file": "rows.csv"}
        recipe_model().model_validate({**least, **given, "data": {**data, **given.get("data", {})}})


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "js"], ids=lambda block: block.name)
def test_javascript_is_a_module(block: Block, tmp_path: Path) -> None:
    """It is parsed alone: what the runner's functions do is compared in tests/web."""
    if shutil.which("node") is None:
        pytest.skip("no node here")
    (tmp_path / "block.mjs").write_text(block.text)
    done = subprocess.run(["node", "--check", str(tmp_path / "block.mjs")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_mention(command: str, where: str) -> None:
    """A command in running text has a name and options that there are; what stands for a value may be anything."""
    given = [word for word in words(command) if word not in ("…", "...")]
    if given[1].startswith("-"):
        parse(given[1:])
        return
    assert given[1] in COMMAND.commands, f"{where}: {command}"
    known = {
        option for parameter in COMMAND.commands[given[1]].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    options = {word.partition("=")[0] for word in given if word.startswith("--")}
    assert options <= known, f"{where}: {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_running_text_are_commands(page: Path) -> None:
    for command in inline_commands(page):
        check_mention(command, page.name)


def test_what_messages_and_help_advise_is_there() -> None:
    """Commands between backticks in the strings of edgekit itself, and number formats that a recipe should name."""
    formats = {value for scheme in ("Int8", "WeightOnly", "Float16", "Bfloat16", "Float32") for value in _formats(scheme)}
    advised = 0
    for path in sorted((ROOT / "edgekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for command in re.findall(r"`(edgekit [a-z][^`{}]*)`", node.value):
                    check_mention(" ".join(command.split()), path.name)
                    advised += 1
                for said in re.findall(r'\[quantize\] format = "([^"]+)"', node.value):
                    assert said in formats, f"{path.name}: no number format {said!r}"
    assert advised > 20


def _formats(scheme: str) -> list[str]:
    node = recipe_model().model_json_schema(by_alias=True)["$defs"][scheme]["properties"]["format"]
    return [node["const"]] if "const" in node else list(node["enum"])


@pytest.fixture(scope="module")
def desk(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which a reader follows the pages, with the model and the rows that these call their own."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(tiny_model, folder / "my-classifier")
    with (folder / "tickets.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([row["text"], row["label"]] for rows in tiny_rows().values() for row in rows)
    tools = folder / ".tools"
    tools.mkdir()
    for name, line in (("edgekit", f'exec "{sys.executable}" -m edgekit "$@"'), ("python3", f'exec "{sys.executable}" "$@"')):
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    make_bundle(folder / "build" / f"my-chat-model-{HERE}", "text-generation", name=f"my-chat-model-{HERE}")
    checkpoint("llama", folder / "my-language-model")
    home = Path.cwd()
    os.chdir(folder)
    try:
        made = CliRunner().invoke(app, [*START, "--target", HERE, *SHORTER["export"]])
        assert made.exit_code == 0, made.output
        with short_measure(processes=1):
            yield folder
    finally:
        os.chdir(home)


def here(text: str) -> str:
    """`text` for this machine: pages are written for x86-vnni."""
    return text.replace("x86-vnni", HERE)


@contextmanager
def served(command: str, folder: Path) -> Iterator[str]:
    """A server that a page starts, at any free port; yields its address."""
    arguments = ["-m", "edgekit", *words(command)[1:]] if command.startswith("edgekit ") else words(command)[1:]
    process = subprocess.Popen(
        [sys.executable, *arguments, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if (found := re.search(r"http://(127\.0\.0\.1:\d+)", line)) is not None:
                yield found[1]
                break
        else:
            raise AssertionError(f"{command}: no server\n{printed}")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def run(command: str, folder: Path) -> tuple[int, str]:
    """(exit code, what was printed) of one command."""
    given = words(command)
    if given[0] == "edgekit" and not re.search(r"[|<>;]|&&", command):
        done = CliRunner().invoke(app, [*given[1:], *SHORTER.get(given[1], [])], input="")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            if not isinstance(done.exception, EdgekitError):
                raise done.exception
            return done.exception.exit_code, done.exception.text()
        return done.exit_code, done.output
    shell = subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{folder / '.tools'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    return shell.returncode, shell.stdout + shell.stderr


def follow(page: Path, folder: Path) -> None:
    """Do what a page says, block by block."""
    names: dict[str, Any] = {"__name__": "page"}
    with ExitStack() as servers:
        address = "127.0.0.1:8000"
        for block in blocks_of(page):
            address = do(block, folder, names, servers, address)


def do(block: Block, folder: Path, names: dict[str, Any], servers: ExitStack, address: str) -> str:
    """Do what one block says; returns the address of the server that was started last."""
    kind, said = block.note or ("", "")
    if kind == "parsed only":
        return address
    if kind == "written to":
        (folder / said).write_text(here(block.text), encoding="utf-8")
    elif block.language == "python":
        exec(compile(here(block.text), block.name, "exec"), names)
    elif block.language == "console":
        wanted = int(kind.removeprefix("exit ")) if kind.startswith("exit ") else 0
        for command in map(here, block.commands()):
            if re.match(r"(edgekit|python3 \S*runner\.pyz) serve ", command):
                servers.close()
                address = servers.enter_context(served(command, folder))
                continue
            code, printed = run(command.replace("127.0.0.1:8000", address), folder)
            assert code == wanted, f"{block.name}: {command}: exit {code}\n{printed[-3000:]}"
    return address


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_can_be_followed(page: Path, desk: Path) -> None:
    follow(page, desk)
