"""The cells of the matrix: each writes a checkpoint with rows and a recipe, and says whether it must be right or refused, and by which words."""

from __future__ import annotations

from tests.matrix.cells.adapters import adapters
from tests.matrix.cells.architectures import architectures
from tests.matrix.cells.cell import Cell
from tests.matrix.cells.checkpoints import checkpoints
from tests.matrix.cells.heads import heads
from tests.matrix.cells.sentences import sentences
from tests.matrix.cells.tags import tags
from tests.matrix.cells.tokenizers import tokenizers

__all__ = ["CELLS", "Cell"]

CELLS = [*architectures(), *heads(), *sentences(), *tags(), *tokenizers(), *checkpoints(), *adapters()]
