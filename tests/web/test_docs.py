"""The JavaScript of the pages runs as it stands, against a bundle of its task."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgekit.web.vendor import releases, runner_folder, vendor_folder
from tests.docs.blocks import BLOCKS, Block
from tests.web.node import node, released

BLOCKS_OF_JS = [block for block in BLOCKS if block.language == "js" and block.page == "docs/web.md" and not block.note]


@pytest.mark.parametrize("block", BLOCKS_OF_JS, ids=lambda block: block.name)
def test_a_block_runs_in_node(block: Block, tmp_path: Path) -> None:
    program = node()
    bundle = released("writer" if "max_new_tokens" in block.text else "classifier", tmp_path)
    opening = f'await load("{bundle}", {{ vendor: "{vendor_folder()}" }})'
    text = block.text.replace('"./runner.mjs"', f'"{runner_folder()}/runner.mjs"')
    text = text.replace('await load("bundle/")', opening).replace(
        'load("bundle/", { ', opening.removesuffix(" })").removeprefix("await ") + ", "
    )
    if "load(" not in text:  # it goes on where the page's first block ended
        text = f"const model = {opening};\nconst show = () => {{}};\n{text}"
    if "import " not in text:
        text = f'import {{ load }} from "{runner_folder()}/runner.mjs";\n{text}'
    (tmp_path / "block.mjs").write_text(text, encoding="utf-8")
    done = subprocess.run([program, str(tmp_path / "block.mjs")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_pages_name_the_releases_that_are_loaded() -> None:
    pages = "".join(block.text for block in BLOCKS if block.page == "docs/web.md")
    assert [name for name in releases() if name not in pages] == []
