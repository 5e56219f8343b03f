"""Whether the rows of one run are what each is alone, to the bit: by what the graph holds, and by trying on the machine at hand.

Weights are rounded by block, and activations by row and block, so that no row sees another; but which kernel a row gets depends on how many there
are. Measured with onnxruntime 1.32 on x86 with VNNI, 1 and 2 threads, 2 to 8 rows of 1 to 700 tokens: with weights in float32, in 4 bits by blocks of
32 and in 8 bits by blocks of 32 and 64, every row has the bits that it has alone. In 4 bits by blocks of 64 and 128, and in 8 bits by blocks of
128, rows are multiplied in pairs, and the last of an odd number by another kernel; with `accuracy_level` 0 one row alone is. There all rows of an
even number have the same bits, whoever is beside them (up to 0.13 of a logit from those of one alone, where an activation is rounded to the next
number). A prompt has the bits of its blocks when it is read in pieces of 8 to 64 tokens. Dynamic INT8 finds one range for all rows of a run.
Other chips have other kernels, which is why it is tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.runtime.bundle.onnx_file import OVER_ALL_ROWS, GraphFile
from edgekit.runtime.generate.cache import Cache
from edgekit.runtime.generate.device import DeviceGraph
from edgekit.runtime.generate.graph import Graph
from edgekit.runtime.providers.cuda import Replayed

__all__ = ["PIECE", "piece_end", "same_in_pieces", "unlike_beside", "unlike_tried"]

PIECE = 16
"""Tokens of a prompt that are read between two tokens of other answers."""
FIRST_VERSION = (1, 32)
"""Of ONNX Runtime, whose kernels were read and measured."""
STEPS = 2
"""Tokens of each row that are tried."""


def unlike_beside(file: GraphFile, graph: Graph) -> str | None:
    """Why a row of a run need not be what it is alone, by the graph in `file` and the version of ONNX Runtime; None where it is."""
    from edgekit.runtime.providers.ort import onnxruntime

    version = onnxruntime.__version__
    session = graph.session
    if isinstance(graph, DeviceGraph) or isinstance(session, Replayed):
        return "the cache is a GPU's"
    if tuple(int(part) for part in version.split(".")[:2]) < FIRST_VERSION:
        return f"onnxruntime {version} is older than {'.'.join(map(str, FIRST_VERSION))}, where it is proved"
    threads = session.get_session_options().intra_op_num_threads
    for node in file.nodes:
        if node.operator in OVER_ALL_ROWS:
            return "activations are rounded by a range over all rows of a run"
        heads = node.numbers.get("num_heads", 0)
        if node.operator == "GroupQueryAttention" and threads > heads:
            return f"attention with {heads} heads is split between {threads} threads where one row is alone"
    return None


def unlike_tried(graph: Graph, cache: Cache, *, even: bool = False) -> str | None:
    """Why a row is not what it is alone, by running tokens in every number of rows that `cache`, which is empty, has; None where none differs.
    `even`: in even numbers of rows only, a row alone beside an empty one."""
    most, room = len(cache.lengths), min(graph.context, cache.capacity)
    lengths = [1 + (5 * number) % max(1, min(41, room - STEPS)) for number in range(most)]
    draw = np.random.default_rng(0)
    prompts = [draw.integers(0, graph.vocabulary, length) for length in lengths]
    said = draw.integers(0, graph.vocabulary, (STEPS, most, 1))
    alone = [graph.empty(1 + even, min(room, 64)) for _ in prompts]
    wanted = np.empty((STEPS, most, graph.vocabulary), dtype=np.float32)
    for number, (prompt, own) in enumerate(zip(prompts, alone, strict=True)):
        graph.read(prompt, own.rows(0, 1))
        for step in range(STEPS):
            tokens = np.concatenate([said[step, number : number + 1], np.zeros((int(even), 1), dtype=np.int64)])
            wanted[step, number] = graph.run(tokens, own)[0, 0]
    try:
        for width in range(2, most + 1, 1 + even):
            rows = cache.rows(0, width)
            order = [(number + width) % most for number in range(width)]
            for row, number in enumerate(order):
                rows.take(row, alone[number], 0, lengths[number])
            for step in range(STEPS):
                if graph.run(said[step, order], rows)[:, 0].tobytes() != wanted[step, order].tobytes():
                    return f"on this machine a row in a run of {width} has other bits than alone"
            if not all(_same(rows, row, alone[number], lengths[number] + STEPS) for row, number in enumerate(order)):
                return f"on this machine a row in a run of {width} leaves other bits than alone"
    finally:
        for row in range(most):
            cache.give_back(row)
    return None


def same_in_pieces(graph: Graph) -> bool:
    """Whether a prompt that is read in pieces leaves the bits that it leaves when it is read in blocks, by trying."""
    return all(_same_in_pieces(graph, min(graph.context, graph.block, 3 * PIECE + rest)) for rest in (2, 3))


def _same_in_pieces(graph: Graph, room: int) -> bool:
    ids = np.random.default_rng(1).integers(0, graph.vocabulary, room)
    block, pieces = graph.empty(1, room), graph.empty(1, room)
    wanted, logits = graph.read(ids, block), None
    while (start := int(pieces.lengths[0])) < room:
        logits = graph.run(ids[None, start : piece_end(graph, start, room)], pieces)[0, 0]
    return logits is not None and logits.tobytes() == wanted.tobytes() and _same(pieces, 0, block, room)


def piece_end(graph: Graph, start: int, end: int) -> int:
    """Where the piece ends that begins at `start` of a prompt of `end` tokens: never past its block, and never one token before that ends, as one
    token alone is another kernel's."""
    last = min(graph.whole_blocks(start) + graph.block, end)
    stop = min(start + PIECE, last)
    return last if last - stop == 1 else stop


def _same(first: Cache, row: int, second: Cache, length: int) -> bool:
    """Whether `row` of `first` holds the bits of the first row of `second`, up to `length` tokens."""
    pairs: Sequence[tuple[np.ndarray, np.ndarray]] = [
        *zip(first.keys, second.keys, strict=True),
        *zip(first.values, second.values, strict=True),
    ]
    return all(mine[row, :, :length].tobytes() == theirs[0, :, :length].tobytes() for mine, theirs in pairs)
