"""onnxruntime is imported in one place, with its telemetry off."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit

PACKAGE = Path(edgekit.__file__).parent
ALLOWED = PACKAGE / "runtime" / "providers" / "ort.py"


def imported(source: str) -> set[str]:
    """Names of the modules that `source` imports by a statement, or by a literal given to import_module or __import__."""
    names = set()
    tree = ast.parse(source)
    for_types = {  # never executed
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in {"import_module", "__import__"}:
                names.add(str(node.args[0].value))
    return names


def test_no_other_module_imports_onnxruntime() -> None:
    offenders = [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != ALLOWED and any(name.split(".")[0] == "onnxruntime" for name in imported(file.read_text(encoding="utf-8")))
    ]
    assert offenders == []
    assert "onnxruntime" in imported(ALLOWED.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "import onnxruntime", "import onnxruntime as ort", "from onnxruntime import OrtValue",
        "import importlib\nimportlib.import_module('onnxruntime')", "def f():\n    from onnxruntime.quantization import quantize_dynamic",
    ],
)  # fmt: skip
def test_every_way_to_import_it_is_seen(line: str) -> None:
    assert any(name.split(".")[0] == "onnxruntime" for name in imported(line))


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_before_the_first_import_unless_the_user_says_otherwise(before: str | None, after: str) -> None:
    code = (
        "import os, sys; from edgekit.runtime.providers import session; assert 'onnxruntime' not in sys.modules; "
        "from edgekit.runtime.providers.ort import onnxruntime; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {} if before is None else {"ORT_DISABLE_TELEMETRY": before}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == after
