"""Answers: against the float64 model, alone and in batches, with earlier prompts' caches, interrupted, and from bad input."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.runtime.errors import BadInput, CheckFailed
from edgekit.runtime.generate.answer import Piece
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.generate.model import LanguageModel, language_model
from edgekit.runtime.generate.sample import Sampling
from edgekit.runtime.providers.session import open_session
from tests.runtime.generate.tiny_decoder import CONTEXT, TINY, TinyDecoder, make_decoder, write_decoder
from tests.runtime.generate.tiny_tokenizers import KINDS

Fresh = Callable[..., LanguageModel]
PROMPTS = ["the inn", "a hat in the attic", "tint", "once upon a time there was", "the inn and the hat"]
LONG = Sampling(max_new_tokens=40)


def greedy(decoder: TinyDecoder, ids: np.ndarray, count: int, tokens: int) -> list[int]:
    """What the float64 model would say."""
    found = ids.tolist()
    for _ in range(count):
        found.append(int(decoder.logits(np.array(found))[-1][:tokens].argmax()))
        if found[-1] == 2:
            break
    return found[len(ids) :]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_answers_are_the_references(model: LanguageModel, decoder: TinyDecoder, prompt: str) -> None:
    answer = model.generate(prompt, LONG)
    ids = model.encode(prompt)
    assert ids[0] == 1 and answer.prompt_tokens == len(ids)
    assert list(answer.tokens) == greedy(decoder, ids, 40, model.tokens)
    assert answer.ended == ("stop" if answer.tokens[-1] == 2 else "length")
    said = model.tokenizer.decode([*ids.tolist(), *answer.tokens])
    assert said == model.tokenizer.decode(ids.tolist()) + answer.text


@pytest.mark.parametrize(
    "sampling", [LONG, replace(LONG, temperature=1.0, seed=5), replace(LONG, stop=("a", "the"), temperature=2.0)]
)
def test_rows_of_a_batch_are_what_they_are_alone(fresh: Fresh, sampling: Sampling) -> None:
    together = fresh(prefix_bytes=0).generate(PROMPTS, sampling)
    for number, (prompt, answer) in enumerate(zip(PROMPTS, together, strict=True)):
        others = [PROMPTS[0]] * number  # a row's random stream is that of its number
        assert fresh(prefix_bytes=0).generate([*others, prompt], sampling)[number] == answer
    assert len({len(answer.tokens) for answer in together}) > 1 or sampling == LONG


def test_rows_end_at_different_times(fresh: Fresh) -> None:
    model = fresh()
    firsts = [model.generate(prompt, LONG).text[6:9] for prompt in PROMPTS[:2]]
    sampling = replace(LONG, stop=tuple(text for text in firsts if text))
    together = model.generate(PROMPTS, sampling)
    assert len({len(answer.tokens) for answer in together}) > 1
    assert [fresh().generate(prompt, sampling) for prompt in PROMPTS] == together


def test_a_stream_is_its_answer_in_pieces(model: LanguageModel) -> None:
    answer = model.generate(PROMPTS[0], LONG)
    found = list(model.stream(PROMPTS[0], LONG))
    assert "".join(piece.text for piece in found) == answer.text
    assert tuple(piece.token for piece in found) == answer.tokens
    assert [piece.ended for piece in found] == [None] * (len(found) - 1) + [answer.ended]


def test_seeds_and_rows(fresh: Fresh) -> None:
    sampling = Sampling(temperature=1.5, max_new_tokens=20)
    model = fresh()
    assert model.generate("a hat", sampling) == model.generate("a hat", sampling)
    assert model.generate("a hat", sampling) != model.generate("a hat", replace(sampling, seed=1))
    first, second = model.generate(["a hat", "a hat"], sampling)
    assert first != second and first == model.generate("a hat", sampling)


def test_a_stop_text_over_several_tokens(fresh: Fresh) -> None:
    model = fresh()
    whole = model.generate(PROMPTS[3], LONG)
    stop = whole.text[5:9]
    answer = model.generate(PROMPTS[3], replace(LONG, stop=(stop,)))
    assert answer.ended == "stop" and answer.text == whole.text[: whole.text.index(stop)]
    assert "".join(piece.text for piece in model.stream(PROMPTS[3], replace(LONG, stop=(stop,)))) == answer.text


def test_a_stop_that_is_a_special_token(fresh: Fresh) -> None:
    """By its name and by its number; it is no part of the text, whichever it is."""
    model, wild = fresh(), Sampling(max_new_tokens=120, temperature=3.0)
    special = {token.content: number for number, token in model.tokenizer.get_added_tokens_decoder().items() if number > 2}
    assert set(special) == {"<|user|>", "<|assistant|>"}
    prompt, met = model.encode("the inn").tolist(), 0
    for seed in range(12):
        sampling = replace(wild, seed=seed)
        whole = model.generate("the inn", sampling)
        for name, number in special.items():
            if number not in whole.tokens:
                continue
            met += 1
            end = whole.tokens.index(number) + 1
            by_name = model.generate("the inn", replace(sampling, stop=(name,)))
            assert by_name.ended == "stop" and by_name.tokens == whole.tokens[:end]
            assert model.tokenizer.decode([*prompt, *by_name.tokens]) == model.tokenizer.decode(prompt) + by_name.text
            assert by_name == model.generate("the inn", replace(sampling, stop_token_ids=(number,)))
    assert met > 3


def test_a_stop_token_that_is_none(model: LanguageModel) -> None:
    letter = model.generate("the inn", LONG).tokens[3]
    assert model.generate("the inn", replace(LONG, stop_token_ids=(letter,))).tokens[-1] == letter
    for number in (model.tokens, 5000):  # the first has a row in the model, and no token
        with pytest.raises(BadInput, match=f"stop_token_ids: {number} is not among the {model.tokens} token ids"):
            model.generate("the inn", replace(LONG, stop_token_ids=(2, number)))


def test_the_context_ends_an_answer(model: LanguageModel) -> None:
    ids = np.full(CONTEXT - 4, 7)
    answer = model.generate(ids, Sampling(max_new_tokens=50))
    assert answer.ended == "context" and len(answer.tokens) == 4
    assert model.generate(ids, Sampling(max_new_tokens=4)).ended == "length"
    assert model.generate(np.full(CONTEXT - 1, 7)).ended == "context"


class Counted:
    """How many tokens each run of a graph reads, and what it gives."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[int] = []
        self.logits: list[np.ndarray] = []
        real = Graph.run

        def run(graph: Graph, ids: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
            self.runs.append(ids.size)
            self.logits.append(real(graph, ids, *rest, **options))
            return self.logits[-1]

        monkeypatch.setattr(Graph, "run", run)

    def __call__(self, asked: Callable[[], Any]) -> int:
        """Tokens of a prompt that `asked` reads, of whose answer each further run reads one."""
        self.runs.clear()
        answer = asked()
        return sum(self.runs) - (len(answer.tokens) - 1)

    def given(self, asked: Callable[[], Any]) -> np.ndarray:
        """The logits that each token of the answer is chosen by."""
        self.logits.clear()
        return np.concatenate(self.logits[-len(asked().tokens) :])


def test_a_prompt_that_goes_on_from_an_earlier_one_is_read_from_its_last_whole_block(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, model, short = Counted(monkeypatch), fresh(), Sampling(max_new_tokens=8)
    first = model.encode("once upon a time there was a hat")
    answer = model.generate(first, short)
    whole = len(first) // 8 * 8
    further = np.concatenate([first, answer.tokens, model.encode("in the inn")[1:]]).astype(np.int64)
    assert counted(lambda: model.generate(further, short)) == len(further) - whole, "the answer is read again"
    kept = model.prefixes._kept[0][1]
    assert counted(lambda: model.generate(further, short)) == len(further) - (len(further) - 1) // 8 * 8
    assert model.prefixes._kept[0][1] is kept, "the same memory, gone on with"
    turned = np.concatenate([first[:10], [first[10] + 1, 7, 8, 7, 8, 7]])
    assert counted(lambda: model.generate(turned, short)) == 8
    for ids in (first, further, turned):
        assert model.generate(ids, short) == fresh(prefix_bytes=0).generate(ids, short)


@pytest.mark.parametrize("length", [7, 8, 9, 16, 17, 40])
def test_a_prompt_asked_again_gives_the_same_bits(fresh: Fresh, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """Also after one that goes on from it, and in a cache of another size: runs over the same tokens have the same shapes."""
    counted, model, short = Counted(monkeypatch), fresh(), Sampling(max_new_tokens=12)
    ids = np.random.default_rng(length).integers(3, 280, length)
    wanted = counted.given(lambda: fresh(prefix_bytes=0).generate(ids, short))
    further = np.concatenate([ids, np.random.default_rng(0).integers(3, 280, 21)])
    for other in (ids, ids, further, ids, further[: length + 3], ids):
        found = counted.given(lambda: model.generate(other, short))  # noqa: B023  (called at once)
        if other is ids:
            assert np.array_equal(found, wanted)
    model.generate(ids, Sampling(max_new_tokens=70))
    assert np.array_equal(counted.given(lambda: model.generate(ids, short)), wanted)


@pytest.mark.parametrize("seed", range(3))
def test_answers_do_not_depend_on_what_was_asked_before(fresh: Fresh, seed: int) -> None:
    generator = np.random.default_rng(seed)
    model, sampling = fresh(prefix_bytes=60_000), Sampling(temperature=0.8, max_new_tokens=6)
    beginnings = [generator.integers(3, 280, 40) for _ in range(3)]
    for _ in range(25):
        ids = np.concatenate([beginnings[generator.integers(3)][: generator.integers(1, 40)], generator.integers(3, 280, 3)])
        assert model.generate(ids, sampling) == fresh(prefix_bytes=0).generate(ids, sampling)
        assert sum(cache.held for _, cache in model.prefixes._kept) <= 60_000


def test_rows_that_begin_alike_are_read_once(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, model = Counted(monkeypatch), fresh()
    start = "once upon a time there was a "
    model.generate([start + "hat", start + "inn"], Sampling(max_new_tokens=2))
    first = len(model.encode(start + "hat"))
    assert sum(counted.runs[: -(-first // 8)]) == first
    assert counted.runs[-(-first // 8)] < 8, "of the second, the blocks that differ"


def test_no_more_is_kept_than_was_said(fresh: Fresh) -> None:
    model = fresh(prefix_bytes=0)
    model.generate("a hat")
    assert not model.prefixes._kept
    model = fresh(prefix_bytes=30_000)
    for text in ("a hat", "the inn", "tint", "once upon"):
        model.generate(text, Sampling(max_new_tokens=8))
    assert 0 < sum(cache.held for _, cache in model.prefixes._kept) <= 30_000


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, which it is not in a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_at(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real Ctrl-C after run number `turn`."""
    real, turns = Graph.run, iter(range(1000))

    def run(*arguments: Any, **options: Any) -> np.ndarray:
        found = real(*arguments, **options)
        if next(turns) == turn:
            signal.raise_signal(signal.SIGINT)
        return found

    monkeypatch.setattr(Graph, "run", run)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("turn", [0, 1, 9])
def test_ctrl_c_ends_an_answer_and_nothing_else(fresh: Fresh, monkeypatch: pytest.MonkeyPatch, turn: int) -> None:
    model, whole = fresh(), fresh().generate(PROMPTS[0], LONG)
    with monkeypatch.context() as patch:
        interrupt_at(turn, patch)
        found = list(model.stream(PROMPTS[0], LONG))
    assert found[-1].ended == "interrupted" and found[-1].token is None
    said = tuple(piece.token for piece in found[:-1])
    assert said == whole.tokens[:turn]
    assert whole.text.startswith("".join(piece.text for piece in found[:-1]))
    assert model.generate(PROMPTS[0], LONG) == whole, "the next prompt works"
    with monkeypatch.context() as patch:
        interrupt_at(turn + 1, patch)
        answers = model.generate(PROMPTS[:2], LONG)
    assert [answer.ended for answer in answers] == ["interrupted"] * 2
    assert model.generate(PROMPTS[0], LONG) == whole


def test_a_stream_that_is_left_is_no_loss(fresh: Fresh) -> None:
    model = fresh()
    whole = model.generate(PROMPTS[0], LONG)
    stream = model.stream(PROMPTS[0], LONG)
    assert next(stream) == Piece(next(model.stream(PROMPTS[0], LONG)).text, whole.tokens[0])
    stream.close()
    assert model.generate(PROMPTS[0], LONG) == whole


@pytest.mark.parametrize("length", [2, 3, 31, 128])
@pytest.mark.parametrize("rows", [5, 1000])
def test_scores(model: LanguageModel, decoder: TinyDecoder, length: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.runtime.generate.model.SCORE_BYTES", rows * 4 * decoder.vocabulary)
    ids = np.random.default_rng(length).integers(0, decoder.vocabulary, length)
    scores = decoder.logits(ids)[:-1]
    scores -= scores.max(-1, keepdims=True)
    wanted = (scores - np.log(np.exp(scores).sum(-1, keepdims=True)))[np.arange(length - 1), ids[1:]]
    found = model.score(ids)
    assert found.dtype == np.float64 and found.shape == (length - 1,)
    np.testing.assert_allclose(found, wanted, atol=5e-5)


def test_conversations(fresh: Fresh) -> None:
    model = fresh(chat=True)
    talk = [{"role": "user", "content": "a hat"}]
    ids = model.encode(talk)
    assert model.tokenizer.decode(ids.tolist(), skip_special_tokens=False).replace(" ", "") == "<|user|>ahat</s><|assistant|>"
    answer = model.generate([talk], LONG)[0]
    assert answer.tokens == model.generate(ids, LONG).tokens
    assert answer == model.answer("a hat", LONG) == model.answer({"messages": talk}, LONG)
    assert model.template is not None and model.template.tokens == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        (b"\xff", "UTF-8"),
        ("\ud800", "surrogates"),
        (7, "must be a string"),
        (np.zeros(0, dtype=np.int64), "empty"),
        (np.zeros(3), "int64"),
        (np.zeros((1, 3), dtype=np.int64), "int64"),
        (np.array([3, -1]), "from -1 to 3 leave the vocabulary"),
        (np.array([3, 5000]), "leave the vocabulary"),
        (np.full(CONTEXT, 7), "128 tokens leave no room for an answer in the context of 128"),
        (np.full(CONTEXT + 9, 7), "137 tokens are more than the context of 128"),
        ("hat " * 400, "tokens are more than the context of 128"),
        ([{"role": "user", "content": "a hat"}], "no chat template"),
    ],
)
def test_prompts_that_cannot_be_used(model: LanguageModel, prompt: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        list(model.stream(prompt))
    with pytest.raises(BadInput, match=words):
        model.generate(["a hat", prompt])
    assert model.generate("a hat").text


def test_conversations_that_cannot_be_used(fresh: Fresh) -> None:
    model = fresh(chat=True)
    with pytest.raises(BadInput, match="message 1 holds the control token '</s>'"):
        model.encode([{"role": "user", "content": "a"}, {"role": "user", "content": "a</s><|assistant|>"}])
    with pytest.raises(BadInput, match="not a conversation: 'text'"):
        model.answer({"text": "a"})
    talk = [{"role": "user", "content": "a"}]
    with pytest.raises(BadInput, match=r"a conversation with documents[^\0]*--raw"):
        model.answer({"messages": talk, "tools": [], "documents": None})
    with pytest.raises(BadInput, match="tool"):
        model.answer({"messages": talk, "tools": [{"type": "function"}]})
    with pytest.raises(BadInput, match="no prompt"):
        model.generate([])


def test_scores_of_what_cannot_be_scored(model: LanguageModel) -> None:
    for ids, words in (
        (np.array([3]), "one token"),
        (np.full(CONTEXT + 1, 3), "129 tokens are more"),
        (np.array([1, -1]), "leave"),
    ):
        with pytest.raises(BadInput, match=words):
            model.score(ids)


def test_a_model_that_gives_no_numbers(decoder: TinyDecoder, tiny_folder: Path, tmp_path: Path) -> None:
    broken = decoder.weights["table"].copy()
    broken[9] = np.nan
    write_decoder(replace(decoder, weights={**decoder.weights, "table": broken}), tmp_path)
    model = language_model(open_session(tmp_path / "model.onnx"), TINY, tiny_folder / "tokenizer.json")
    for asked in (lambda: model.generate(np.array([3, 9, 4])), lambda: model.score(np.array([3, 9, 4]))):
        with pytest.raises(CheckFailed, match="NaN or Inf"):
            asked()
    assert not model.prefixes._kept, "what gave no numbers is not used again"


def test_tokens_beyond_the_vocabulary_are_refused_in_a_prompt_alone_and_never_chosen(tiny_folder: Path, tmp_path: Path) -> None:
    """As Gemma 3's token for images, which its language model has no row for."""
    write_decoder(make_decoder(200), tmp_path)
    model = language_model(open_session(tmp_path / "model.onnx"), TINY, tiny_folder / "tokenizer.json")
    beyond = max(model.tokenizer.get_vocab().values())
    assert beyond >= 200 == model.tokens
    answer = model.generate(np.array([5, 6, 7]), Sampling(max_new_tokens=20, temperature=2.0))
    assert max(answer.tokens) < 200
    with pytest.raises(BadInput, match=f"{beyond} leave the vocabulary of 200") as fault:
        model.generate(np.array([5, beyond]))
    assert model.tokenizer.id_to_token(beyond) in fault.value.text()


def test_the_tokenizer_of_another_model(tiny_folder: Path, tmp_path: Path) -> None:
    write_decoder(make_decoder(2000), tmp_path)
    with pytest.raises(BadInput, match="vocabulary of 2000 is far more than"):
        language_model(open_session(tmp_path / "model.onnx"), TINY, tiny_folder / "tokenizer.json")


def test_files_that_are_none(session: Any, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match="not a tokenizer"):
        language_model(session, TINY, tmp_path / "tokenizer.json")
    with pytest.raises(BadInput, match="eos or bos 299 is not among"):
        language_model(session, replace(TINY, eos=(2, 299)), tiny_folder / "tokenizer.json")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_tokenizer(decoder: TinyDecoder, session: Any, tmp_path: Path, kind: str) -> None:
    tokenizer = KINDS[kind]()
    if tokenizer.get_vocab_size() > decoder.vocabulary:
        decoder = make_decoder(tokenizer.get_vocab_size())
        session = open_session(write_decoder(decoder, tmp_path) / "model.onnx")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = language_model(session, replace(TINY, eos=(), bos=None), tmp_path / "tokenizer.json")
    prompt = tokenizer.encode("Once upon a time", add_special_tokens=False).ids
    for seed in range(10):
        answer = model.generate(np.array(prompt), Sampling(temperature=3.0, seed=seed, max_new_tokens=60))
        assert tokenizer.decode([*prompt, *answer.tokens]) == tokenizer.decode(prompt) + answer.text


def test_a_long_prompt_is_read_beside_other_threads(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same tokens: where a server has said that the tokenizer makes no threads of its own."""
    text = "the inn 🙂 " * 3000
    alone = model.tokenizer.encode(text).ids
    asked: list[int] = []
    real = type(model.tokenizer).encode_batch

    class Noted:
        """The tokenizer, which notes batches."""

        def __getattr__(self, name: str) -> object:
            return getattr(model.tokenizer, name)

        def encode_batch(self, texts: list[str], **settings: bool) -> object:
            asked.append(len(texts))
            return real(model.tokenizer, texts, **settings)

    noted = replace(model, tokenizer=Noted())  # type: ignore[arg-type]
    for value, batches in (("true", []), ("false", [1])):
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
        assert noted.encode(text).tolist() == alone and asked == batches
    assert noted.encode("the inn").tolist() == model.encode("the inn").tolist() and asked == [1]
