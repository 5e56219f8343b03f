"""The off-the-shelf INT8 that results are compared with."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.runtime.bundle.names import MODEL

__all__ = ["stock_int8"]


def stock_int8(plain: Path, out: Path) -> dict[str, int]:
    """Write what `onnxruntime.quantization.quantize_dynamic` makes, by its defaults, of the plain export to folder `out`.

    Returns its size in bytes.
    """
    from edgekit.runtime.providers.ort import submodule

    logging.disable(logging.WARNING)
    try:
        # It writes a file of its own beside the one it is given, which lies where other runs read.
        with TemporaryDirectory(dir=out) as folder:
            submodule("quantization").quantize_dynamic(shutil.copy(plain, folder), str(out / MODEL))
    finally:
        logging.disable(logging.NOTSET)
    return {"bytes": (out / MODEL).stat().st_size}
