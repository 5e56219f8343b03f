"""What was made faster gives the same bits as the plain way to say it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.runtime.errors import CheckFailed
from edgekit.runtime.processors import Asked, finite, softmax, text_classification
from edgekit.runtime.processors.feature_extraction import answer

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(arrays(np.float32, st.integers(1, 40), elements=FLOATS | st.floats(-1, 1, width=32)))
def test_a_vector_is_rounded_as_python_rounds(vector: np.ndarray) -> None:
    found = answer([vector[None]], [], Asked())["embedding"]
    wanted = [round(float(value), 7) for value in vector]
    assert list(map(float.hex, found)) == list(map(float.hex, wanted))


@settings(max_examples=200, deadline=None)
@given(arrays(np.float32, st.integers(2, 12), elements=st.sampled_from([0.0, 1.0, 1.0 + 2**-23, 1.0 - 2**-24, -3.0, 40.0])))
def test_the_best_label_is_the_first_of_those_that_are_listed(logits: np.ndarray) -> None:
    labels = [f"label {number}" for number in range(len(logits))]
    alone, listed = (text_classification.answer([logits[None]], [], Asked(labels, top_k=count)) for count in (1, len(labels)))
    assert alone == {name: listed[name] for name in ("label", "score")} == listed["scores"][0]
    assert float(softmax(logits).max()) == pytest.approx(alone["score"], abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite(bad: float) -> None:
    values = np.full((3, 4), 3e38, dtype=np.float32)
    assert finite(values, "logits") is values
    values[2, 1] = bad
    with pytest.raises(CheckFailed):
        finite(values, "logits")
