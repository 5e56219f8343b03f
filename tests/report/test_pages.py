"""The three outputs: terminal, Markdown and HTML."""

from __future__ import annotations

import io
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from edgekit.cli.app import app
from edgekit.errors import BadInput
from edgekit.pipeline.measure import bench_result
from edgekit.report.chain import stages_grid
from edgekit.report.commands import commands
from edgekit.report.details import limits
from edgekit.report.facts import Facts, read_facts
from edgekit.report.headline import headline, tiles
from edgekit.report.made_from import RECIPE, TARGET
from edgekit.report.tables import render_terminal, variants_grid
from edgekit.report.verdicts import budgets, cautions
from edgekit.report.write import report, write_reports
from tests.report.made_up import write_result

HOSTILE = '<script>alert("x")</script>|`*\x1b[31m&'
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "srcset", "action", "data"}]
        assert not [name for name, _ in attrs if name.startswith("on")], "an event handler"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    parser.close()
    assert not parser.open
    return parser


def shown(folder: Path, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render_terminal(read_facts(folder)))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result(tmp_path_factory.mktemp("build") / "made-up-x86-vnni")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return report(folder).html.read_text(encoding="utf-8")


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    seen = outline(page)
    assert page.startswith("<!doctype html>")
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "embed"}
    assert all(link.startswith("#") for link in seen.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert len(seen.ids) == len(set(seen.ids)), "the pictures' identifiers must not collide"


def test_the_page_is_accessible(page: str) -> None:
    assert page.count("<caption>") == page.count("<table>") >= 7
    assert page.count('role="img" aria-label="') == page.count("<svg ") == 2
    assert "after 1: prune-structured: 0.732 ms" in page and 'lang="en"' in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_the_page_says_what_matters_first(folder: Path, page: str) -> None:
    assert re.match(
        r"12\.\dx faster than PyTorch eager fp32 \(95% interval 1\d\.\d to 1\d\.\d\), 6\.10 MB instead of 91\.4 MB in float32, "
        r"a change in accuracy that 5,500 rows cannot tell from none \(-0\.40 points, interval -0\.88 to \+0\.08\)\.$",
        headline(read_facts(folder)),
    )
    order = [
        page.index(words)
        for words in ('class="headline"', "<svg", "All variants", "What each step", "Audit:", "Protocol", "does not show")
    ]
    assert order == sorted(order)


def test_the_same_facts_give_the_same_bytes(folder: Path, page: str) -> None:
    written = report(folder)
    assert written.html.read_text(encoding="utf-8") == page
    assert not list(folder.glob(".*")), "a temporary file was left"


def test_markdown_tables_keep_their_columns(folder: Path) -> None:
    blocks: list[list[str]] = [[]]
    for line in report(folder).markdown.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    tables = [block for block in blocks if block]
    assert len(tables) == 7
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert len(tables[0]) == 2 + 7


def test_names_from_outside_are_text_everywhere(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "hostile", recipe=HOSTILE)
    lineage = json.loads((folder / "lineage.json").read_text())
    lineage["variants"]["after-9-<script>x</script>$y$"] = {**lineage["variants"]["ort-fp32"], "title": HOSTILE}
    (folder / "lineage.json").write_text(json.dumps(lineage))
    bench = json.loads((folder / "bench.json").read_text())
    bench["variants"].append({**bench["variants"][1], "name": "after-9-<script>x</script>$y$", "title": HOSTILE})
    (folder / "bench.json").write_text(json.dumps(bench))
    written = report(folder)
    page, text = (path.read_text(encoding="utf-8") for path in written.paths)
    assert "script" not in outline(page).tags
    assert "&lt;script&gt;" in page
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert "<" not in outside and "\x1b" not in text
    assert "\x1b" not in shown(folder, 80)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_terminal_keeps_to_its_width(folder: Path, width: int) -> None:
    text = shown(folder, width)
    assert max(map(len, text.splitlines())) <= width
    assert "12.4x" in text and ("peak" in text) == (width >= 110)


def test_at_80_columns_no_figure_is_broken(folder: Path) -> None:
    text = shown(folder, 80)
    for figure in ("0.707–0.745", "-0.88..+0.08", "84.40%", "PyTorch eager", "off-the-shelf", "3: prune-vocabulary"):
        assert figure in text, figure


def test_the_time_from_text_to_answer_leads_and_the_graph_stands_beside_it(tmp_path: Path) -> None:
    """Every figure of a time, the ratios and the budget are of it; of a result that an earlier edgekit timed, of the graph, and it says so."""
    folder = write_result(tmp_path / "now")
    facts = read_facts(folder)
    bundle = facts.variant("bundle")
    assert bundle is not None and bundle.lead is not None and bundle.graph is not None
    assert (bundle.lead, bundle.graph) == (bundle.timings["text"], bundle.timings["real"])
    ratio = facts.ratio("ort-fp32")
    assert ratio is not None and ratio.scenario == "text"
    between = (bundle.graph.p50 + bundle.lead.p50) / 2
    for limit, met in ((between, False), (bundle.lead.p50 * 1.01, True)):
        (budget,) = budgets(replace(facts, accept={"max_latency_ms": limit}))
        assert budget.met is met and budget.what == "median latency, text to answer"
    assert [column.title for column in variants_grid(facts).columns[1:3]] == ["an answer", "the graph"]
    bench = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    for variant in bench["variants"]:
        variant["scenarios"] = [one for one in variant["scenarios"] if one["name"] != "text"]
    bench["ratios"] = [one for one in bench["ratios"] if one["scenario"] != "text"]
    (folder / "bench.json").write_text(json.dumps(bench), encoding="utf-8")
    before = read_facts(folder)
    (budget,) = budgets(replace(before, accept={"max_latency_ms": between}))
    assert budget.met is True and budget.what == "median latency, the graph"
    assert [column.title for column in variants_grid(before).columns[1:3]] == ["the graph", "speed-up"]
    ratio = before.ratio("ort-fp32")
    assert ratio is not None and ratio.scenario == "real"


@pytest.mark.parametrize("words", ["UNSTABLE", "QUICK LOOK", "processes of ort-fp32 differ by 31%"])
def test_doubts_are_visible_in_every_output(tmp_path: Path, words: str) -> None:
    folder = write_result(tmp_path / "doubtful", quick=True, stable=False)
    written = report(folder)
    for text in (*(path.read_text(encoding="utf-8") for path in written.paths), shown(folder, 80)):
        assert words in " ".join(text.split())
    assert '<li class="bad">unstable</li>' in written.html.read_text(encoding="utf-8")


@pytest.mark.parametrize(("differ", "named"), [(0.34, True), (0.04, False), (None, False)])
def test_block_times_that_a_busy_machine_blurred_are_named(tmp_path: Path, differ: float | None, named: bool) -> None:
    folder = write_result(tmp_path / "busy")
    lineage = json.loads((folder / "lineage.json").read_text())
    next(stage for stage in lineage["stages"] if stage["stage"] == "prune-structured")["metrics"]["times_differ"] = differ
    (folder / "lineage.json").write_text(json.dumps(lineage))
    for text in (*(path.read_text(encoding="utf-8") for path in report(folder).paths), shown(folder, 80)):
        said = " ".join(text.split()).replace("\\", "")
        assert ("1: prune-structured chose what to cut by block times that differed by 34%" in said) == named
        assert ("the machine was busy" in said) == named


def test_without_a_measurement_everything_else_is_there(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "away", measured=False)
    written = report(folder)
    page, text = (path.read_text(encoding="utf-8") for path in written.paths)
    outline(page)
    for output in (page, text, shown(folder, 80)):
        assert "lacks architecture x86_64" in " ".join(output.replace("\\", "").split())
        assert "not measured" in output and "84.40%" in output
    titles = [column.title for column in variants_grid(read_facts(folder)).columns]
    assert titles == ["variant", "accuracy", "change", "model", "total"], "columns of which nothing is known"


def test_several_results_are_listed(tmp_path: Path) -> None:
    write_result(tmp_path / "one-x86-vnni", recipe="one")
    write_result(tmp_path / "two & more", recipe="two", measured=False)
    paths = write_reports(tmp_path)
    assert len(paths) == 5 and paths[-1] == tmp_path / "index.html"
    seen = outline(paths[-1].read_text(encoding="utf-8"))
    assert seen.links == ["one-x86-vnni/report.html", "two%20%26%20more/report.html"]
    assert write_reports(tmp_path / "one-x86-vnni") == list(paths[:2])


def test_one_broken_result_does_not_hide_the_others(tmp_path: Path) -> None:
    write_result(tmp_path / "good")
    write_result(tmp_path / "ill")
    (tmp_path / "ill" / "bench.json").write_text("{")
    with pytest.raises(BadInput, match="ill"):
        write_reports(tmp_path)
    assert (tmp_path / "good" / "report.html").is_file()


@pytest.mark.parametrize(("low", "high", "words"), [
    (0.0, 0.0119, "a change in accuracy that 5,500 rows cannot tell from none (+0.40 points, interval 0.00 to +1.19)"),
    (0.0001, 0.0119, "0.40 points of accuracy gained (interval +0.01 to +1.19)"),
    (0.0, 0.0, "no change in accuracy (interval 0.00 to 0.00)"),
])  # fmt: skip
def test_the_headline_itself_says_that_rows_cannot_tell(folder: Path, low: float, high: float, words: str) -> None:
    facts = read_facts(folder)
    facts = replace(facts, quality=replace(facts.quality, difference=0.004 if high else 0.0, low=low, high=high))
    assert words in headline(facts)
    assert (tiles(facts)[-1].figure == "no clear change") == ("cannot tell" in words)


@pytest.mark.parametrize(("low", "high", "words", "figure"), [
    (3.7, 6373.0, "Faster than PyTorch eager fp32, but by how much this run cannot tell (10.9x, 95% interval 3.70 to 6,373)", "unclear"),
    (10.0, 12.0, "10.9x faster than PyTorch eager fp32 (95% interval 10.0 to 12.0)", "10.9x"),
    (0.46, 26.9, "No faster than PyTorch eager fp32, as far as this run can tell (10.9x, 95% interval 0.46 to 26.9)", "unclear"),
])  # fmt: skip
def test_the_headline_itself_says_that_the_run_cannot_tell(
    folder: Path, low: float, high: float, words: str, figure: str
) -> None:
    facts = read_facts(folder)
    assert facts.measurement is not None
    ratios = tuple(
        replace(one, speedup=10.9, low=low, high=high) if one.against == "eager-fp32" else one
        for one in facts.measurement.ratios
    )
    facts = replace(facts, measurement=replace(facts.measurement, ratios=ratios))
    assert headline(facts).startswith(words)
    assert tiles(facts)[0].figure == figure


def test_what_a_page_says_of_its_times_is_what_it_shows(folder: Path) -> None:
    facts = read_facts(folder)
    for is_from_text in (facts.from_text, not facts.from_text):
        variants = tuple(
            replace(one, timings={name: timing for name, timing in one.timings.items() if is_from_text or name != "text"})
            for one in facts.variants
        )
        said = " ".join(limits(replace(facts, variants=variants)))
        assert ("from text to answer" in said) == is_from_text
        assert ("of the model alone" in said) != is_from_text


def test_what_a_page_tells_to_type_works_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a drafted recipe, a target of one's own and another build folder too; from the folder of the project and from any other."""
    project = tmp_path / "a project"
    build = project / "build"
    folder = write_result(build / "made-up-mine", recipe="made-up")
    for path in (build / "made-up.toml", project / "mine.toml"):
        path.write_text("")
    for name, file in ((RECIPE, "../made-up.toml"), (TARGET, "../../mine.toml")):
        (folder / name).write_text(file)
    monkeypatch.chdir(project)
    assert commands(read_facts(Path("build/made-up-mine")))[0] == "edgekit export build/made-up.toml --target mine.toml"
    for place, here in (
        (project, Path("build/made-up-mine")),
        (build, Path("made-up-mine")),
        (folder, Path()),
        (tmp_path, folder),
    ):
        monkeypatch.chdir(place)
        facts = read_facts(here)
        quick = next(one.text for one in cautions(replace_quick(facts)) if one.text.startswith("QUICK LOOK"))
        export, measure, verify, again = (
            shlex.split(line) for line in (*commands(facts), quick[quick.index("edgekit bench") :])
        )
        context = typer.main.get_command(app).commands["export"].make_context("export", export[2:])  # type: ignore[attr-defined]
        for file in (context.params["recipe"], *context.params["target"]):
            assert Path(file).is_file(), (place, file)
        name = Path(context.params["recipe"]).stem + "-" + Path(context.params["target"][0]).stem
        for result in (context.params["build"] / name, *(Path(one[2]) for one in (measure, verify, again))):
            assert (result / "lineage.json").is_file(), (place, result)


def replace_quick(facts: Facts) -> Facts:
    assert facts.measurement is not None
    return replace(facts, measurement=replace(facts.measurement, quick=True))


def test_of_a_recipe_without_steps_the_bundle_stands_once_and_says_what_it_is(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "plain")
    lineage = json.loads((folder / "lineage.json").read_text())
    lineage["recipe"]["compress"] = []
    lineage |= {"chain": lineage["chain"][:1]}
    lineage["variants"] = {name: one for name, one in lineage["variants"].items() if not name.startswith("after-")}
    (folder / "lineage.json").write_text(json.dumps(lineage))
    measured = json.loads((folder / "bench.json").read_text())
    measured["variants"] = [one for one in measured["variants"] if one["name"] in lineage["variants"]]
    (folder / "bench.json").write_text(json.dumps(measured))
    facts = read_facts(folder)
    assert facts.chain[0][1] == "bundle"
    assert "The recipe has no steps" in variants_grid(facts).caption
    assert "The recipe has no steps" not in variants_grid(read_facts(write_result(tmp_path / "stepped"))).caption


@pytest.mark.parametrize("stage", ["quantize", "quantize-decoder"])
def test_what_quantizing_took_is_told_of_language_models_too(stage: str, tmp_path: Path) -> None:
    folder = write_result(tmp_path / "plain")
    lineage = json.loads((folder / "lineage.json").read_text())
    for one in lineage["stages"]:
        one["stage"] = stage if one["stage"] == "quantize" else one["stage"]
    (folder / "lineage.json").write_text(json.dumps(lineage))
    first = stages_grid(read_facts(folder)).rows[1]
    assert first[0].main == "quantize, nothing else" and first[1].main == "0.30 s"


def test_notes_of_the_audit_stand_in_the_terminal(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "noted")
    audit = json.loads((folder / "bundle" / "audit.json").read_text())
    audit["notes"] = ["small weights are unpacked within the kernel"]
    (folder / "bundle" / "audit.json").write_text(json.dumps(audit))
    assert "small weights are unpacked within the kernel" in " ".join(shown(folder, 80).split())


def test_an_empty_build_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="edgekit export"):
        write_reports(tmp_path)


def test_energy_is_shown_where_it_was_read(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "metered")
    path = folder / "bench.json"
    document = json.loads(path.read_text())
    reading = {"per_inference_mj": 1.25, "above_idle_mj": 0.5, "watts": 9.0, "seconds": 3.0, "inferences": 21600}
    document |= {
        "energy": {"meters": {}, "variants": {"bundle": {"real": {"package-0": reading}}}, "unread": []},
        "energy_reason": None,
    }
    path.write_text(json.dumps(document))
    for shown in write_reports(folder):
        assert "package-0: 1.25 mJ an answer, 0.5 above idle" in shown.read_text()
    reading["per_inference_mj"] = float("nan")
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match="NaN"):
        read_facts(folder)


@pytest.mark.parametrize(
    ("by", "why"), [("measured", "found to be the fastest"), ("target", "as the target says"), ("asked", "as was asked for")]
)
def test_every_output_says_with_how_many_threads_it_was_timed_and_why(tmp_path: Path, by: str, why: str) -> None:
    folder = write_result(tmp_path / "made-up-x86-vnni")
    path = folder / "bench.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["protocol"] |= {"threads": 4, "threads_by": by}
    path.write_text(json.dumps(document), encoding="utf-8")
    written = report(folder)
    for text in (shown(folder, 120), written.html.read_text(encoding="utf-8"), written.markdown.read_text(encoding="utf-8")):
        assert "4 threads for every variant" in text and why in " ".join(text.split())


def test_a_measurement_says_every_option_that_it_was_taken_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `edgekit bench` itself would take it again."""
    monkeypatch.setattr("edgekit.bench.run.run_bench", lambda *_, command, **__: {"command": command})
    monkeypatch.setattr("edgekit.pipeline.measure._timed_files", lambda _: {})
    asked: dict[str, Any] = {"quick": True, "processes": 4, "seconds": 0.25, "threads": "auto", "prompts": (16, 512), "seed": 9}
    result = tmp_path / "a result"
    command = shlex.split(str(bench_result(result, progress=lambda *_: None, **asked)["command"]))
    context = typer.main.get_command(app).commands["bench"].make_context("bench", command[2:])  # type: ignore[attr-defined]
    said = {name: context.params[name] for name in asked}
    assert said == asked | {"prompts": "16,512"} and context.params["bundle"] == result
    facts = read_facts(folder)
    assert facts.measurement is not None
    facts = replace(facts, measurement=replace(facts.measurement, command=shlex.join(command)))
    assert shlex.split(commands(facts)[1]) == ["edgekit", "bench", str(folder), *command[3:]]
