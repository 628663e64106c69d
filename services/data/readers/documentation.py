"""The demo corpus: documentation in English that the installed Python and its packages bring, read and never run."""

from __future__ import annotations

import ast
import inspect
import platform
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from contracts.corpora import DemoTextSource
from contracts.data import RejectedFile
from contracts.errors import UnreadableSource
from services.data.readers.texts import plain
from services.kit.corpora import Document
from services.kit.packaged import package_folder

LEFT_OUT = frozenset({"test", "tests", "idlelib", "lib2to3", "site-packages", "turtledemo", "_pyrepl", "_vendor"})
SHORTEST = 400  # characters of a module's docstrings
PYTHON = "PSF-2.0"


@dataclass(frozen=True)
class Shipped:
    """An installed package whose docstrings are read, under the licence of the package."""

    distribution: str
    licence: str


SHIPPED = {
    "numpy": Shipped("numpy", "BSD-3-Clause"),
    "scipy": Shipped("scipy", "BSD-3-Clause"),
    "sklearn": Shipped("scikit-learn", "BSD-3-Clause"),
    "skimage": Shipped("scikit-image", "BSD-3-Clause"),
    "torch": Shipped("torch", "BSD-3-Clause"),
    "transformers": Shipped("transformers", "Apache-2.0"),
}


def versions_of(source: DemoTextSource) -> dict[str, str]:
    """Versions that decide the text.

    Raises
    ------
    UnreadableSource : a package that is not installed.
    """
    for package in source.packages:
        if package_folder(package) is None:
            raise UnreadableSource(f"{package} is not installed", field="source.packages")
    return {"python": platform.python_version()} | {
        name: version(SHIPPED[name].distribution) for name in source.packages
    }


def read_documentation(source: DemoTextSource) -> Iterator[Document | RejectedFile]:
    """Yield the topics of the language reference, then one document a module: its docstrings in order.

    Modules are parsed, not imported.
    """
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield Document(f"python reference/{name}", plain(topics[name]), PYTHON)
    places = [(Path(sysconfig.get_path("stdlib")), "python", PYTHON)]
    for package in source.packages:
        folder = package_folder(package)
        if folder is None:
            raise UnreadableSource(f"{package} is not installed", field="source.packages")
        places.append((folder, package, SHIPPED[package].licence))
    for root, name, licence in places:
        for file in sorted(root.rglob("*.py")):
            inner = file.relative_to(root)
            if LEFT_OUT.isdisjoint(inner.parts):
                text = docstrings_of(file.read_bytes())
                if len(text) >= SHORTEST:
                    yield Document(f"{name}/{inner.as_posix()}", text, licence)


def docstrings_of(body: bytes) -> str:
    """Docstrings of a module, its classes and functions, outer ones first, blank lines between."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's strings
            tree = ast.parse(body)
    except (SyntaxError, ValueError):
        return ""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return plain("\n\n".join(inspect.cleandoc(each) for each in found if each))
