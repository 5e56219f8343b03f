"""Which tolerance a part is held against, that it is said with its reason, and that sentence, exit code and picture have the same one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.diff.subjects import Subject, bundled
from edgekit.cli.app import app
from edgekit.differ.compare import diff
from edgekit.differ.errors import PartError
from edgekit.differ.judge import Rules, Verdict, judge, rules_for
from edgekit.differ.page import _labels, render_page
from edgekit.differ.parts import Part
from edgekit.differ.show import document, explained, headline
from tests.conftest import tiny_rows
from tests.tiny_manifest import rewrite_manifest

TEXTS = tuple(row["text"] for row in tiny_rows()["test"])
KINDS = ("heads", "attention", "neurons", "layer")


def errors(*shares: float) -> dict[Part, PartError]:
    """Parts, four a layer, with these own errors."""
    parts = [Part(KINDS[number % 4], number // 4) for number in range(len(shares))]  # type: ignore[arg-type]
    return {
        part: PartError(share, 1.0, share, 0, share, 0.1, 8, 0.0, "", 0.1, 9) for part, share in zip(parts, shares, strict=True)
    }


def judged(*shares: float, trained: tuple[str, ...] = (), few_bits: bool = True) -> tuple[Rules, list[Verdict]]:
    found = errors(*shares)
    rules = rules_for(found, 0.15, rounds=True, few_bits=few_bits, target="x86-vnni", trained=trained)
    return rules, judge(found, rules)


@pytest.mark.parametrize(
    ("shares", "trained", "tolerance", "reason", "left"),
    [
        ((0.01, 0.02, 0.03, 0.04), (), 0.15, "what x86-vnni grants golden outputs elsewhere", 0),
        ((0.1, 0.1, 0.1, 0.2), (), 0.3, "as few bits cost all parts about as much; what x86-vnni grants golden outputs elsewhere is 15%", 0),
        ((0.3, 0.3, 0.4, 0.5), (), 0.15, "most parts differ by more (35% is usual)", 4),
        ((0.2, 0.2, 0.3, 0.4), ("distill",), 0.75, "3 times what most parts differ by (25%), as its recipe (distill) made other functions", 0),
        ((0.7, 0.8, 1.9, 4.0), ("prune-gradual", "distill"), 1.0, "a part's whole spread, as its recipe (prune-gradual, distill)", 2),
        ((0.7, 0.8, 1.9, 4.0), (), 0.15, "so that it is not one place that is wrong", 4),
    ],
)  # fmt: skip
def test_the_tolerance_is_raised_for_a_reason_alone(
    shares: tuple[float, ...], trained: tuple[str, ...], tolerance: float, reason: str, left: int
) -> None:
    """Parts of 57 to 400% were "No part leaves the tolerance": three times the usual had no bound, and no word."""
    rules, found = judged(*shares, trained=trained)
    assert rules.tolerance == pytest.approx(tolerance) and reason in rules.reason
    assert bool(rules.raised) == (tolerance > 0.15)
    assert len(found) == left


def test_eight_bits_are_no_reason() -> None:
    """Noise of 30% of each weight's spread had a tolerance of 38%, "as few bits cost all parts about as much", where noise of 25% was told."""
    rules, found = judged(0.1, 0.1, 0.1, 0.2, few_bits=False)
    assert rules.tolerance == 0.15 and not rules.raised and not rules.loose and len(found) == 1


def test_an_error_that_is_the_same_in_every_token_is_told_sooner() -> None:
    """A bias that was dropped cost 0.86% beside 0.19% of the other layers, 95% of it the same in every token; of rounding's it is a quarter."""
    found = errors(*[0.002] * 5, 0.0086, *[0.002] * 6)
    rules = rules_for(found, 0.15, rounds=True, few_bits=False, target="x86-vnni", trained=())
    assert not judge(found, rules)
    part = Part("attention", 1)
    told = judge({**found, part: replace(found[part], constant=0.95)}, rules)
    assert [one.part for one in told] == [part]
    assert not judge({**found, part: replace(found[part], constant=0.95, tokens=2)}, rules)


def test_the_tolerance_is_said_and_is_the_one_that_the_picture_and_the_exit_code_have(
    tiny_model: Path, tiny_export: Path, tmp_path: Path
) -> None:
    """A model of other weights beside a bundle: where no recipe says why, parts leave the tolerance; where one does, it is raised and said."""
    from edgekit.models.checkpoint import load, save

    bundle = bundled(Subject(tiny_model, tiny_export, TEXTS, 32, decodes=False), tmp_path / "bundle", rounds=True)
    model = load(tiny_model)
    for layer in model.bert.encoder.layer:
        for linear in (layer.attention.self.value, layer.attention.output.dense, layer.intermediate.dense, layer.output.dense):
            linear.weight.data *= 2.5
    save(model, tmp_path / "other", tokenizer_files_from=tiny_model)
    found = diff(tmp_path / "other", bundle)
    assert found.first is not None and not found.rules.raised and f"{found.granted:.0%}" in explained(found)[0]
    arguments = ["diff", str(tmp_path / "other"), str(bundle), "--page", str(tmp_path / "page.html")]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    rewrite_manifest(bundle, lambda manifest: manifest["edgekit"].update(recipe={"compress": [{"method": "distill"}]}))
    raised = diff(tmp_path / "other", bundle)
    assert raised.rules.raised and raised.tolerance > raised.granted == found.granted
    assert "recipe (distill)" in explained(raised)[0] and document(raised)["tolerance_because"] == raised.rules.reason
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == (0 if raised.first is None else 1)
    if raised.first is None:
        assert f"raised from {found.granted:.0%} as its recipe (distill)" in " ".join(done.output.split())
    beyond = {one.part for one in raised.parts if one.own is not None and one.own.error > raised.tolerance}
    assert beyond <= {verdict.part for verdict in raised.verdicts}
    page = render_page(raised)
    assert raised.rules.reason in page and headline(replace(raised, verdicts=())).startswith("No part leaves the tolerance of ")


@pytest.mark.parametrize("layers", [1, 6, 33])
def test_each_bar_outside_the_layers_has_its_name(layers: int) -> None:
    parts = [
        Part("embeddings"),
        *(Part(kind, layer) for layer in range(layers) for kind in KINDS),
        Part("head"),
        Part("output"),
    ]  # type: ignore[arg-type]
    from edgekit.differ.comparing import Compared

    places, labels = _labels([Compared(part, part, None, None, None) for part in parts])
    assert [label.strip() for label in labels if not label.strip().isdigit()] == ["embeddings", "head", "output"]
    assert labels[-2:] == ["\nhead", "\n\noutput"] and places == sorted(set(places)) and places[-1] == len(parts) - 1
    assert len([label for label in labels if label.isdigit()]) <= 16
