"""The off-the-shelf INT8 that results are compared with."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.runtime.bundle.names import MODEL
from edgekit.runtime.jsontypes import JsonObject
from edgekit.runtime.shown import shown
from edgekit.store import NOT_MADE

__all__ = ["stock_int8"]

LONGEST = 200
"""Characters of an exception that are told."""


def stock_int8(plain: Path, out: Path) -> JsonObject:
    """Write what `onnxruntime.quantization.quantize_dynamic` makes, by its defaults, of the plain export to folder `out`.

    Returns {"bytes": its size}; {NOT_MADE: why} where onnxruntime fails at it, as some releases do at the shape inference of some exports: a
    comparison that cannot be made is no fault of what is compared.
    """
    import onnx

    from edgekit.runtime.providers.ort import submodule

    logging.disable(logging.WARNING)
    try:
        # It writes a file of its own beside the one it is given, which lies where other runs read.
        with TemporaryDirectory(dir=out) as folder:
            model = onnx.load(plain)
            model.graph.ClearField("value_info")  # shapes of before its weights were folded: some releases stop at them
            copy = Path(folder) / MODEL
            onnx.save(model, copy)
            submodule("quantization").quantize_dynamic(copy, str(out / MODEL))
    except OSError:
        raise  # the disk, not the tool
    except Exception as fault:  # of any kind: onnx's and onnxruntime's own differ from release to release
        (out / MODEL).unlink(missing_ok=True)
        return {NOT_MADE: f"onnxruntime's quantize_dynamic failed: {reason(fault)}"}
    finally:
        logging.disable(logging.NOTSET)
    return {"bytes": (out / MODEL).stat().st_size}


def reason(fault: Exception) -> str:
    """An exception in one line."""
    said = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {shown(said, LONGEST)}" if said else type(fault).__name__
