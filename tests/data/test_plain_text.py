"""Plain text as rows: whole lines together, nothing lost, nothing that is no text let in."""

from __future__ import annotations

import gzip
import lzma
import random
from pathlib import Path

import pytest

from edgekit.config.recipe import Data
from edgekit.data.formats.plain_text import PIECE
from edgekit.data.rows import read_rows
from edgekit.data.sources import SPLITS, sources_of
from edgekit.errors import BadInput

WIKITEXT = Path(__file__).parents[3] / "shared" / "data" / "wikitext2" / "test.txt"


def texts(path: Path) -> list[str]:
    return [row["text"] for row in read_rows(path, ("text",))]


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_lines_are_taken_together_up_to_the_size_of_a_row(tmp_path: Path, packing: str) -> None:
    line = "abcdefghi " * 60  # 600 characters and a line end
    data = "\n  = Title =  \n\n" + "\n".join([line] * 7) + "\n\n"
    path = tmp_path / f"text.txt{packing}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packing](data.encode()))
    found = texts(path)
    assert [text.count("abcdefghi") // 60 for text in found] == [3, 3, 1]
    assert found[0].startswith("= Title =  \n\nabcdefghi") and found[2] == line.strip()


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_and_no_row_is_longer(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    words = ["x" * generator.choice([1, 5, 900, 2000, 2001, 7000]) for _ in range(60)]
    data = "".join(word + generator.choice([" ", "  ", "\n", "\n\n", " \n ", "\t", " " * 3000]) for word in words)
    (tmp_path / "text.txt").write_text(data)
    found = texts(tmp_path / "text.txt")
    assert "".join("".join(found).split()) == "".join(data.split())
    assert all(0 < len(text) <= PIECE and text == text.strip() for text in found)


def test_a_long_line_is_cut_between_words(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("seven77 " * 1000)
    found = texts(tmp_path / "text.txt")
    assert len(found) == 4 and all(set(text.split()) == {"seven77"} for text in found)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"good\nbad \xff\n", "text.txt:2: not UTF-8"),
        (b"good\n\0\n", "text.txt:2: holds a NUL"),
        (b" \n\n", "holds no rows"),
        (b"", "holds no rows"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "text.txt").write_bytes(data)
    with pytest.raises(BadInput) as caught:
        texts(tmp_path / "text.txt")
    assert says in caught.value.text()


def test_it_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("some text\n")
    with pytest.raises(BadInput, match="a column is missing; found: 'text'"):
        read_rows(tmp_path / "text.txt", ("text", "label"))


def test_a_line_is_a_row_of_an_encoder(tmp_path: Path) -> None:
    """A hundred sentences are a hundred rows, however long; the record says that they were read so, and other files are as before."""
    sentences = [f"  sentence {number} " + "x" * (3000 * (number == 7)) for number in range(100)]
    for split in SPLITS:
        (tmp_path / f"{split}.txt").write_bytes("\r\n".join([*sentences[:50], "  ", *sentences[50:]]).encode())
    data = Data.model_validate({split: f"{split}.txt" for split in SPLITS})
    given = sources_of(data, tmp_path, 7, lines=True)
    assert given.test is not None
    assert [row["text"] for row in read_rows(given.test.name, ("text",), lines=True)] == sentences
    assert given.document() == {**sources_of(data, tmp_path, 7).document(), "lines": True}


@pytest.mark.skipif(not WIKITEXT.is_file(), reason="needs ../shared/data/wikitext2")
def test_wikitext_comes_back_whole() -> None:
    found = texts(WIKITEXT)
    assert " ".join(" ".join(found).split()) == " ".join(WIKITEXT.read_text(encoding="utf-8").split())
    assert max(map(len, found)) <= PIECE and sum(map(len, found)) / len(found) > 0.75 * PIECE
