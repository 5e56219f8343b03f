"""`runner.pyz`: the runtime as one executable file for a device that has Python, numpy, onnxruntime and tokenizers."""

from __future__ import annotations

import hashlib
import os
import zipfile
from functools import cache
from pathlib import Path

__all__ = ["runtime_digest", "write_runner"]

MAIN = """import sys
sys.dont_write_bytecode = True
try:
    from edgekit.runtime.children import end_with_parent
    end_with_parent()
    from edgekit.runtime.main import main
    code = main()
except KeyboardInterrupt:  # while modules were imported
    print("runner: interrupted", file=sys.stderr)
    code = 130
sys.exit(code)
"""


def write_runner(out: Path) -> None:
    """Write the runner to `out`; the same sources give the same bytes."""
    package = Path(__file__).resolve().parents[1]
    sources = {"__main__.py": MAIN.encode(), "edgekit/__init__.py": (package / "__init__.py").read_bytes()}
    for path in sorted((package / "runtime").rglob("*.py")):
        sources[f"edgekit/{path.relative_to(package)}"] = path.read_bytes()
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in sorted(sources):
                    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, sources[name])
        temporary.chmod(0o755)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


@cache
def runtime_digest() -> str:
    """Digest of what the runner holds of edgekit's own sources, so that a changed runtime makes a new one."""
    total = hashlib.sha256()
    for path in sorted((Path(__file__).resolve().parents[1] / "runtime").rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()
