"""Every example of the README runs as it stands there; only folder, port and snapshot id are this test's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, after: str) -> str:
    """The first code block of a language after a heading."""
    return re.search(rf"{after}\n.*?```{language}\n(.*?)```", README, re.DOTALL)[1]


@pytest.fixture(scope="module")
def shell(tmp_path_factory, explained):
    """A shell with `xsys` on its path, and a folder of pictures as the README assumes."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("readme")
    for label, picture in (("cat", skimage.data.chelsea()), ("coffee", skimage.data.coffee())):
        (folder / "pictures" / label).mkdir(parents=True)
        whole = Image.fromarray(picture)
        for place in range(6):
            box = (20 * place, 10 * place, 20 * place + 240, 10 * place + 240)
            whole.crop(box).save(folder / "pictures" / label / f"{place}.png")
    Image.fromarray(skimage.data.chelsea()).save(folder / "pictures" / "cat" / "tabby.png")
    (folder / "bin").mkdir()
    command = folder / "bin" / "xsys"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestration.cli "$@"\n')
    command.chmod(0o755)
    environment = explained.environment | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def run(script: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_command_line_example_runs(shell, tmp_path):
    lines = [line for line in block("sh", "### Command line").splitlines() if not line.startswith("source ")]
    first = [line for line in lines if "SNAPSHOT" not in line]
    one, along = lines[len(first) :]
    assert one.startswith("xsys component SNAPSHOT") and along.startswith("xsys component SNAPSHOT")
    out = shell("\n".join(first), XSYS_HOME=str(tmp_path / "home"))
    assert "13 pictures, 2 labels" in out
    assert "blocks.4" in out
    snapshot = re.search(r"\bs_[0-9a-f]{16}\b", out)[0]
    assert "conv_head" in shell(one.replace("SNAPSHOT", snapshot), XSYS_HOME=str(tmp_path / "home"))
    sets = shell(along.replace("SNAPSHOT", snapshot), XSYS_HOME=str(tmp_path / "home"))
    assert sets.count("7.7%") + sets.count("15.4%") == 8  # thirteen pictures in eight sets


def test_the_rest_example_answers_what_the_command_line_prints(shell, served):
    snapshot = served.installation.json("snapshot", "show", "small")["id"]
    script = block("sh", "### REST").replace("SNAPSHOT", snapshot).replace("http://127.0.0.1:8000", served.url)
    import json

    answer = json.loads(shell(script))
    printed = served.installation.json("search", "a striped animal", "--k", "5", "--snapshot", "small")
    assert answer == printed
    assert len(answer["hits"]) == 5


def test_the_python_example_prints_five_components(shell):
    out = shell(f"{sys.executable} - <<'PROGRAM'\n{block('python', '### Python')}\nPROGRAM")
    assert len(out.splitlines()) == 5
