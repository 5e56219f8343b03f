"""What a message refers to is there, and each kind of fault that refers is one that somebody raises."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import get_args

import pytest
from typer import Context
from typer.main import get_command
from typer.testing import CliRunner

from edgekit.cli.app import app
from edgekit.cli.pages import anchor, page_names, page_text, sections
from edgekit.errors import BadInput
from edgekit.runtime.errors import Topic
from edgekit.tasks import task_names
from tests.cli.test_cli import edgekit
from tests.docs.blocks import ROOT

TOPICS: tuple[str, ...] = get_args(Topic)
COMMAND = Context(get_command(app), info_name="edgekit")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_a_section_of_the_faq(topic: str) -> None:
    text = page_text(f"faq#{topic}", COMMAND)
    assert text.startswith("## ") and len(text.splitlines()) > 2


def test_every_section_but_the_first_is_a_topic() -> None:
    page, *found = sections(page_text("faq", COMMAND))
    assert page == "when-something-is-refused"
    assert sorted(found) == sorted(TOPICS) and list(TOPICS) == sorted(TOPICS)


def test_every_topic_is_raised_somewhere() -> None:
    said = {
        node.value
        for path in (ROOT / "edgekit").rglob("*.py")
        if path.name != "errors.py"
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        for node in [
            *ast.walk(ast.Module([ast.Expr(word.value) for word in call.keywords if word.arg == "see"], [])),
            *call.args,
        ]
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(TOPICS) <= said


def test_a_message_says_where_more_is_told() -> None:
    done = edgekit("verify", "nowhere")
    assert done.stderr.decode().splitlines()[-1] == "  see: edgekit docs faq#no-bundle-here"
    assert json.loads(edgekit("verify", "nowhere", "--json").stdout)["see"] == "edgekit docs faq#no-bundle-here"
    shown = edgekit("docs", "faq#no-bundle-here")
    assert shown.returncode == 0 and shown.stdout.startswith(b"## No bundle here")


def test_pages_are_found_by_name() -> None:
    assert {"index", "start", "faq", "reference/recipe"} <= set(page_names())
    listed = CliRunner().invoke(app, ["docs"]).output
    assert re.search(r"^faq +When something is refused$", listed, flags=re.M)
    with pytest.raises(BadInput, match="did you mean 'start'"):
        page_text("strat", COMMAND)
    with pytest.raises(BadInput, match="did you mean 'no-bundle-here'"):
        page_text("faq#no-bundle-her", COMMAND)


def test_generated_parts_are_in_a_page() -> None:
    python = page_text("reference/python", COMMAND)
    assert (
        "eval-rst" not in python
        and "tune(recipe: str | Path, target: str | Path | None = None" in python
        and "`kept`: Whether it keeps" in python
    )
    assert "| `max_quality_drop` |" in page_text("reference/recipe", COMMAND) and "<!--" not in page_text("start", COMMAND)
    for name in page_names():
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        marks = re.findall(r"^<!-- generated: (\w+) -->\n\n\*In a checkout .* `edgekit docs (\S+)`", text, flags=re.M)
        assert len(marks) == len(re.findall(r"^<!-- generated", text, flags=re.M)), (
            f"{name} does not say where its generated parts are"
        )
        assert all(page == name for _, page in marks)
        assert "In a checkout " not in page_text(name, COMMAND) or not marks


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("The chip is not the target's", "the-chip-is-not-the-targets"),
        ('`[[compress]]` method = `"distill"`', "compress-method--distill"),
    ],
)
def test_anchors_are_those_of_the_site(title: str, wanted: str) -> None:
    from myst_parser.mdit_to_docutils.base import default_slugify

    assert anchor(title) == wanted == default_slugify(re.sub("`", "", title))


def test_no_page_names_a_page_that_is_not_there() -> None:
    """As the site's own check, without building it."""
    for path in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            place, _, section = target.partition("#")
            if target.startswith("http"):
                continue
            file = (path.parent / place).resolve() if place else path
            assert file.exists(), f"{path.name}: {target}"
            if section and ROOT / "docs" in file.parents:
                assert section in sections(
                    page_text(Path(file).relative_to(ROOT / "docs").with_suffix("").as_posix(), COMMAND)
                ), target


def test_every_task_is_on_its_page() -> None:
    assert all(f"| `{name}` |" in page_text("models", COMMAND) for name in task_names())


def test_every_variable_of_the_environment_is_told() -> None:
    found = {
        name
        for path in (ROOT / "edgekit").rglob("*.py")
        for name in re.findall(r"EDGEKIT_[A-Z]+\b", path.read_text(encoding="utf-8"))
    }
    told = set(re.findall(r"\| `(EDGEKIT_[A-Z]+)`", page_text("reference/commands", COMMAND)))
    assert found - {"EDGEKIT_SPAWNED", "EDGEKIT_OLD"} == told, "the first two are words between processes"
