"""What is answered of a stream when, by a clock that the test sets: what is missed, what is refused, which pictures there are."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtime.errors import BadInput
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.live import Moment, Tally, answers_in_time, check_live_flags, frames, heard, parse_every
from edgekit.runtime.main import main as runner
from edgekit.runtime.sound import Hearing, SoundReader
from tests.device.loopback import make_bundle


def played(costs: dict[int, float], *, every: float = 1.0, count: int = 6, usual: float = 0.1) -> list[JsonObject]:
    """What becomes of `count` moments whose answers take `usual` seconds, and some other `costs`."""
    now = [100.0]

    def answer(item: int) -> JsonObject:
        now[0] += costs.get(item, usual)
        if item == 3:
            raise BadInput("no picture")
        return {"label": str(item)}

    moments = [Moment(number * every, number, f"{number}.png") for number in range(count)]
    return list(answers_in_time(moments, answer, lambda: now[0]))


def test_each_is_answered_where_there_is_time() -> None:
    found = played({})
    assert found[2] == {"at_s": 2.0, "file": "2.png", "label": "2", "delay_ms": pytest.approx(100.0)}
    assert found[3] == {"at_s": 3.0, "file": "3.png", "error": "no picture", "delay_ms": pytest.approx(100.0)}
    assert [one["at_s"] for one in found] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] and not any("missed" in one for one in found)


def test_the_newest_is_answered_where_there_is_not() -> None:
    found = played({0: 2.5, 4: 99.0})
    assert [number for number, one in enumerate(found) if "missed" in one] == [1], (
        "2 came while 0 was answered, and is the newest then"
    )
    assert found[1] == {"at_s": 1.0, "file": "1.png", "missed": True}
    assert found[2]["delay_ms"] == pytest.approx(600.0), "it waited half a second"
    assert found[5]["label"] == "5" and found[5]["delay_ms"] == pytest.approx(98_100.0), "nothing newer comes after the last"
    slow = played({}, usual=1.5, every=0.5, count=7)
    assert [number for number, one in enumerate(slow) if "missed" not in one] == [0, 3, 6]


def test_an_answer_that_ends_as_the_next_comes_leaves_it_in_time() -> None:
    assert not any("missed" in one or one["delay_ms"] != pytest.approx(1000.0) for one in played({}, usual=1.0))


def test_what_became_of_all_is_counted() -> None:
    tally = Tally(1.0)
    for made in played({0: 2.5}):
        tally.add(made, keep=True)
    document = tally.document()
    assert (document["answered"], document["missed"], document["refused"], document["complete"]) == (4, 1, 1, False)
    assert document["delay_ms"] == {"p50": pytest.approx(350.0), "largest": pytest.approx(2500.0)}
    assert "6 pictures, one every 1 s: 4 answered, 1 missed, 1 refused" in tally.line() and "2500.0 at most" in tally.line()
    refused = tally.refused()
    assert refused is not None and refused.faults == ("3.0 s, 3.png: no picture",)
    whole = Tally(30.0, "stretches of sound", end=75.0, longest=10.24, complete=True)
    assert whole.line().startswith(
        "0 stretches of sound, one every 30 s and one at the end, 75.000 s, of each the newest 10.2 s: 0 answered"
    )
    assert "at the end" not in Tally(30.0, "stretches of sound", end=75.0).line(), "it was not reached"
    empty = Tally(1.0)
    assert empty.document()["delay_ms"] is None and empty.line().endswith("0 answered, 0 missed") and empty.refused() is None


@pytest.mark.parametrize(
    ("written", "seconds"), [("0.5s", 0.5), ("40ms", 0.04), ("2", 2.0), (".25 s", 0.25), ("1ms", 0.001), ("86400", 86_400.0)]
)
def test_times(written: str, seconds: float) -> None:
    assert parse_every(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "s", "0", "0s", "-1", "1e3", "nan", "inf", "0.5ms", "2h", "1 2", "١s", "86401", "9" * 400, "1\n2s"]
)
def test_no_times(written: str) -> None:
    with pytest.raises(BadInput, match="no time between inputs"):
        parse_every(written)


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in (
        "f10.png",
        "f2.PNG",
        "f1.jpeg",
        "f01.jpeg",
        ".f0.png",
        "notes.txt",
        "f3.png.part",
        "²f.png",
        "f" + "9" * 200 + ".gif",
    ):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    found = frames(tmp_path, 0.5)
    assert [one.name for one in found] == ["f01.jpeg", "f1.jpeg", "f2.PNG", "f10.png", "f" + "9" * 200 + ".gif", "²f.png"]
    assert [one.at for one in found[:3]] == [0.0, 0.5, 1.0] and found[0].item == tmp_path / "f01.jpeg"


def test_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, said in (
        (tmp_path, "folders within it are not read"),
        (tmp_path / "none", "No such file"), (tmp_path / "notes.txt", "is a file"), (Path("a\0b"), "null byte"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=said):
            frames(folder, 1.0)


def test_a_microphone_gives_the_newest_stretch(tmp_path: Path) -> None:
    hearing = Hearing(
        "ASTFeatureExtractor", sampling_rate=8000, feature_size=1, padding_value=0.0, return_attention_mask=False, fewest_samples=400,
        num_mel_bins=16, max_length=24,
    )  # fmt: skip
    samples = np.arange(16_000) / 32768
    path, reader = tmp_path / "ramp.wav", SoundReader(hearing)
    for rate in (8000, 4000):
        path.write_bytes(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 32_000, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", 32_000)
                         + (samples * 32768).astype("<i2").tobytes())  # fmt: skip
        found = heard(path, 0.25, reader)
        assert [one.at for one in found] == [0.25 * number for number in range(1, 16_000 * 4 // rate + 1)]
        for one in found:
            end, window = round(one.at * rate), int(0.51 * rate)
            assert np.array_equal(one.item["array"], samples[max(0, end - window) : end].astype(np.float32))
            assert one.item["sampling_rate"] == rate and not reader.sound(one.item).truncated
    assert heard(path, 0.01, reader)[0].at == 0.05, "as soon as there are enough samples for an answer"
    for every, ends in ((0.3, 14), (3.0, 2), (5.0, 1), (86_400.0, 1)):
        found = heard(path, every, reader)
        assert len(found) == ends and found[-1].at == 4.0, "the end of the file is heard"
        assert np.array_equal(found[-1].item["array"], samples[-int(0.51 * 4000) :].astype(np.float32))
    path.write_bytes(path.read_bytes()[:40] + struct.pack("<I", 398) + path.read_bytes()[44 : 44 + 398])
    with pytest.raises(BadInput, match=r"ends after 0.0498 s, before there is anything"):
        heard(path, 1.0, reader)
    (tmp_path / "nothing.wav").touch()
    (tmp_path / "text.wav").write_text("no sound")
    for name, said in (("nothing.wav", "the sound is empty: 0 bytes"), ("text.wav", "no sound of a kind")):
        with pytest.raises(BadInput) as fault:
            heard(tmp_path / name, 1.0, reader)
        assert fault.value.text().startswith(f"{tmp_path / name}: {said}")
    for other, said in ((tmp_path, "folder"), (tmp_path / "none.wav", "no such file")):
        with pytest.raises(BadInput) as fault:
            heard(other, 1.0, reader)
        assert said in fault.value.text()


def test_what_cannot_stand_beside_it() -> None:
    assert check_live_flags(jsonl=False, workers=None, texts=["folder"]) == Path("folder")
    for jsonl, workers, texts in (
        (True, None, ["a"]),
        (False, "2", ["a"]),
        (False, None, []),
        (False, None, None),
        (False, None, ["a", "b"]),
    ):
        with pytest.raises(BadInput, match="--every"):
            check_live_flags(jsonl=jsonl, workers=workers, texts=texts)


def test_a_model_of_texts_has_no_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner(["run", str(make_bundle(tmp_path / "result")), str(tmp_path), "--every", "1s"]) == 2
    assert "a model for text-classification reads texts" in capsys.readouterr().err
