"""Tag schemes: read off labels alone, as seqeval reads their tags, or refused by name."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, IOBES, IOE2, Entities, Token

from edgekit.errors import BadInput
from edgekit.runtime.tags import read_scheme, scheme_fault, spans

KINDS = ("LOC", "PER", "part-of")
STRICT: dict[str, tuple[str, type[Token]]] = {"IOE": ("IE", IOE2), "BIOES": ("BIES", IOBES), "BILOU": ("BILU", BILOU)}


def labels_of(letters: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    return ["O", *(f"{letter}-{kind}" for letter, kind in product(letters, kinds))]


def by_seqeval(tags: list[str], scheme: type[Token]) -> list[tuple[str, int, int]]:
    (entities,) = Entities([tags], scheme).entities
    return sorted((entity.tag, entity.start, entity.end) for entity in entities)


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", sorted(STRICT))
def test_entities_are_seqevals_in_strict_mode(name: str, data: st.DataObject) -> None:
    letters, scheme = STRICT[name]
    labels = labels_of(letters, ("LOC", "PER"))
    tags = data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=9))
    assert read_scheme(labels).name == name
    assert sorted(spans(tags, read_scheme(labels))) == by_seqeval(tags, scheme)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(labels_of("BI")), min_size=1, max_size=9))
def test_bio_is_read_as_seqeval_reads_it_without_a_scheme(tags: list[str]) -> None:
    assert spans(tags, read_scheme(labels_of("BI"))) == [(kind, start, end + 1) for kind, start, end in get_entities(tags)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("OBS"), st.sampled_from(KINDS), st.integers(0, 2)), min_size=1, max_size=6))
def test_sound_tags_mean_the_same_in_every_scheme(runs: list[tuple[str, str, int]]) -> None:
    """Entities written in each scheme, in each spelling, come back whole."""
    letters = {"BIO": "BIII", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW"}
    for name, (first, inner, last, alone) in letters.items():
        tags, wanted = [], []
        for what, kind, more in runs:
            if what == "O":
                tags.append(("O", ""))
                continue
            length = 1 if what == "S" else more + 2
            wanted.append((kind, len(tags), len(tags) + length))
            one = first if name == "BIO" else alone
            tags += [(one, kind)] if length == 1 else [(first, kind), *[(inner, kind)] * (length - 2), (last, kind)]
        for write in (
            lambda letter, kind: f"{letter}-{kind}", lambda letter, kind: f"{letter}_{kind}", lambda letter, kind: f"{kind}-{letter}",
            lambda letter, kind: f"{kind}_{letter}", lambda letter, kind: f"{letter.lower()}-{kind.lower()}",
        ):  # fmt: skip
            labels = ["O", *(write(letter, kind) for letter in sorted({first, inner, last, alone}) for kind in KINDS)]
            written = [write(letter, kind) if kind else "O" for letter, kind in tags]
            found = spans(written, read_scheme(labels))
            assert [(kind.upper(), low, high) for kind, low, high in found] == [(kind.upper(), *at) for kind, *at in wanted], (
                written
            )
            assert read_scheme(labels).name == name


def test_neighbours_of_one_kind_are_an_entity_where_there_are_kinds_alone() -> None:
    assert spans(["LOC", "LOC", "PER", "O", "LOC"], read_scheme(["O", "LOC", "PER"])) == [
        ("LOC", 0, 2),
        ("PER", 2, 3),
        ("LOC", 4, 5),
    ]


def test_a_begin_without_its_end_is_no_entity_where_the_scheme_ends_them() -> None:
    labels = labels_of("BIES")
    assert spans(["B-LOC", "I-LOC", "O", "S-PER", "E-LOC"], read_scheme(labels)) == [("PER", 3, 4)]
    assert by_seqeval(["B-LOC", "I-LOC", "O", "S-PER", "E-LOC"], IOBES) == [("PER", 3, 4)]


def test_bio_is_more_lenient_than_seqevals_strict_mode_as_transformers_is() -> None:
    tags = ["I-LOC", "I-LOC", "O", "B-PER"]
    assert by_seqeval(tags, IOB2) == [("PER", 3, 4)]
    assert spans(tags, read_scheme(labels_of("BI"))) == [("LOC", 0, 2), ("PER", 3, 4)]


@pytest.mark.parametrize(
    ("labels", "name", "outside"),
    [
        (["O", "B-loc", "I-loc"], "BIO", "O"),
        (["O", "I-loc"], "BIO", "O"),
        (["O", "B-loc"], "BIO", "O"),
        (["o", "b-loc", "i-loc"], "BIO", "o"),
        (["O", "B_DATE_TIME", "I_DATE_TIME"], "BIO", "O"),
        (["O", "LOC-B", "LOC-I"], "BIO", "O"),
        (["O", "B-x-y", "I-x-y"], "BIO", "O"),
        (["O", "B-S", "I-S"], "BIO", "O"),
        (["O", "S-LOC"], "BIOES", "O"),
        (["O", "B-LOC", "E-LOC", "S-PER"], "BIOES", "O"),
        (["O", "U-LOC"], "BILOU", "O"),
        (["O", "I-LOC", "E-LOC"], "IOE", "O"),
        (["B-NP", "I-NP", "B-VP", "I-VP"], "BIO", "O"),
        (["NOUN", "VERB", "X"], "plain", "O"),
        (["O", "LOC", "PER"], "IO", "O"),
        (["per", "o"], "IO", "o"),
        (["N", "O", "V", "^", "PRP"], "plain", ""),
        (["NN", "PRP$", ".", "-LRB-", "''", "FW-NN"], "plain", "O"),
        (["LABEL_0", "LABEL_1"], "plain", "O"),
        (["Case=Nom|Number=Sing", "_"], "plain", "O"),
        (["O"], "plain", "O"),
    ],
)
def test_the_scheme_is_read_off_the_labels(labels: list[str], name: str, outside: str) -> None:
    scheme = read_scheme(labels)
    assert (scheme.name, scheme.outside) == (name, outside)
    assert scheme_fault(labels) is None
    assert read_scheme(labels[::-1]).name == name
    assert scheme.plain == (name == "plain")
    if scheme.plain:
        assert spans(labels, scheme) == []


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["O", "B-loc", "NOUN"], "'B-loc' are letters with a kind, and 'NOUN' are not"),
        (["O", "B-LOC", "B_PER"], "'B-LOC', 'B_PER' are not all written alike"),
        (["O", "B-LOC", "LOC-I"], "not all written alike"),
        (["O", "B-LOC", "b-per"], "letters in both cases"),
        (["O", "B-LOC", "E-LOC", "L-LOC"], "mix the letters of several schemes"),
        (["O", "B-LOC", "M-LOC", "I-LOC", "E-LOC"], "mix the letters of several schemes"),
        (["O", "B-LOC", "E-LOC", "B-PER", "I-PER"], "'B-PER', 'I-PER' are all there is of this kind, and none ends"),
        (["O", "I-LOC", "I-PER", "E-PER"], "'I-LOC' are all there is of this kind, and none ends"),
        (["O", "I-LOC", "S-LOC"], "none begins or ends"),
        (["O", "B", "I"], "letters of a scheme without a kind"),
        (["B", "E", "S", "M"], "letters of a scheme without a kind"),
        (["O", "B-", "I-"], "write all tags alike"),
        (["O", "B:LOC", "I:LOC"], "write all tags alike"),
        (["O", "B-LOC", "LABEL_0"], "'LABEL_0' are not"),
    ],
)
def test_tags_that_would_be_lost_are_refused_by_name(labels: list[str], told: str) -> None:
    fault = scheme_fault(labels)
    assert fault is not None and told in fault
    with pytest.raises(BadInput, match="tags that cannot be read"):
        read_scheme(labels)
