"""No circles: modules can be read, tested and moved one by one. Imports for types alone count too, and those inside functions."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports(packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Module -> the modules of `packages` that its file names in an import anywhere."""
    files = {path for package in packages for path in (ROOT / package).rglob("*.py")}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = [f"{node.module}.{alias.name}" for alias in node.names]
                graph[name] |= {one if one in modules else node.module for one in named}
            elif isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names}
        graph[name] = {other for other in graph[name] if other in modules and other != name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach one another (strongly connected, by each module's reachable set)."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = [*graph[start]]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph[module]
        reach[start] = seen
    groups = {
        frozenset({start, *(other for other in reach[start] if start in reach[other])})
        for start in graph
        if start in reach[start]
    }
    return sorted(sorted(group) for group in groups)


@pytest.mark.parametrize("packages", [("edgekit", "benchmarks", "lanes")], ids="+".join)
def test_no_modules_import_one_another(packages: tuple[str, ...]) -> None:
    assert circles(imports(packages)) == []


def test_a_circle_would_be_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [["a", "b", "c"]]
    assert len(imports(("edgekit",))) > 250


OWN_FILES = {
    "tasks/__init__.py", "compress/registry.py", "data/formats/__init__.py", "data/forms/__init__.py", "data/splits.py",
    "models/decoders/__init__.py", "pack/layouts/__init__.py", "runtime/processors/__init__.py",
}  # fmt: skip
"""They import the files of their own room, whatever these are called."""
OTHERS = {
    "__init__.py": "the public face, imported on first use",
    "runtime/providers/ort.py": "onnxruntime's own modules",
    "runtime/bench/measure.py": "onnxruntime and tokenizers, whose import is timed",
    "pack/sign.py": "model_signing's own modules",
    "pack/layouts/genai.py": "onnxruntime-genai, an extra",
    "shared_store.py": "fsspec, an extra",
    "cli/described.py": "whatever the Python reference names",
}


def test_imports_by_name_are_few_and_known() -> None:
    """An import by a name in a string is not seen by the import contract."""
    found = {
        str(path.relative_to(ROOT / "edgekit"))
        for path in (ROOT / "edgekit").rglob("*.py")
        if "import_module(" in path.read_text(encoding="utf-8")
    }
    assert found == OWN_FILES | OTHERS.keys()
