"""The Python examples of the pages that need no running service are run, each page from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    "page", ["attribution-evaluation.md", "concept-alignment.md", "feedback-training.md", "language-models.md"]
)
def test_the_examples_of_a_page_run(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, script], cwd=DOCS.parent, env={"PYTHONPATH": str(DOCS.parent)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
