"""Everything public says what it is; functions of tensors say their shapes, and the library's names their errors."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_es
import edge_es.client
import edge_es.export
from edge_es.errors import EdgeError

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("edge_es", "service") for path in (ROOT / folder).rglob("*.py"))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Those of a name without an underscore, not those inside functions."""
    for one in node.body:
        if isinstance(one, Definition) and not one.name.startswith("_"):
            yield one


def documented_methods() -> set[str]:
    """Names that some class says what they mean of: an implementation of a protocol need not repeat it."""
    classes = [
        one for path in SOURCES for one in definitions(ast.parse(path.read_text())) if isinstance(one, ast.ClassDef)
    ]
    return {one.name for owner in classes for one in definitions(owner) if ast.get_docstring(one)}


def mentioned(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of what a file defines for others."""
    for one in definitions(ast.parse(path.read_text())):
        yield one.name, ast.get_docstring(one) or ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_function_and_class_says_what_it_is(path: Path) -> None:
    assert [name for name, text in mentioned(path) if not text] == []


def test_a_method_says_it_or_its_protocol_does() -> None:
    known, silent = documented_methods(), []
    for path in SOURCES:
        for owner in definitions(ast.parse(path.read_text())):
            if isinstance(owner, ast.ClassDef):
                methods = [one for one in definitions(owner) if not ast.get_docstring(one)]
                silent += [
                    f"{path.relative_to(ROOT)}: {owner.name}.{one.name}" for one in methods if one.name not in known
                ]
    assert silent == []


SHAPE = ("(", "scalar", "flat", "tensor", "shape", "like")  # how a shape is said: (rows, seq, hidden), or in words


def takes_or_gives_tensors(one: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    notes = [each.annotation for each in (*one.args.args, *one.args.kwonlyargs)]
    return any(note is not None and "torch.Tensor" in ast.unparse(note) for note in (*notes, one.returns))


def test_a_public_function_of_tensors_says_their_shapes() -> None:
    silent = []
    for path in SOURCES:
        for one in definitions(ast.parse(path.read_text())):
            if isinstance(one, ast.FunctionDef) and takes_or_gives_tensors(one):
                text = ast.get_docstring(one) or ""
                if not any(word in text for word in SHAPE):
                    silent.append(f"{path.relative_to(ROOT)}: {one.name}")
    assert silent == []


def raised(one: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Names of the errors that a function raises by itself, not in functions inside it."""
    waiting = [*one.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Definition):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            yield node.exc.func.id
        waiting += [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt | ast.ExceptHandler)]


def functions(node: ast.Module | ast.ClassDef, above: str = "") -> Iterator[tuple[ast.FunctionDef, str]]:
    """Functions and methods for others, each with what its docstring and its class's say."""
    for one in definitions(node):
        text = f"{above} {ast.get_docstring(one) or ''}"
        if isinstance(one, ast.ClassDef):
            yield from functions(one, text)
        elif isinstance(one, ast.FunctionDef):
            yield one, text


UNSAID = ("AssertionError", "NotImplementedError")  # what no caller has to reckon with
SPOKEN = ("service/api/", "service/cli/")  # addresses and commands: their docstrings are for users, in the reference


def test_a_public_function_that_raises_says_what() -> None:
    silent = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if name.startswith(SPOKEN):
            continue
        for one, text in functions(ast.parse(path.read_text())):
            missing = {error for error in raised(one) if error not in UNSAID and error[0].isupper()}
            silent += [f"{name}: {one.name} raises {error}" for error in sorted(missing) if error not in text]
    assert silent == []


VALUES = [
    (f"{place.__name__}.{name}", getattr(place, name))
    for place in (edge_es, edge_es.client, edge_es.export)
    for name in place.__all__
    if dataclasses.is_dataclass(getattr(place, name))
]


@pytest.mark.parametrize(("name", "kind"), VALUES, ids=[name for name, _ in VALUES])
def test_a_value_of_the_library_says_what_each_of_its_fields_is(name: str, kind: type) -> None:
    words = set(re.findall(r"\w+", inspect.getdoc(kind) or ""))
    obvious = {"suite", "items"}
    assert {field.name for field in dataclasses.fields(kind)} - words - obvious == set()


@pytest.mark.parametrize("name", [one for one in edge_es.__all__ if one != "__version__"])
def test_a_name_of_the_library_says_its_errors_and_units(name: str) -> None:
    found = getattr(edge_es, name)
    text = inspect.getdoc(found) or ""
    assert len(text) > 40, name
    if inspect.isfunction(found):
        assert "Raises" in text, name
        raised = {one.__name__ for one in EdgeError.__subclasses__()}
        assert any(error in text for error in raised), name
        for parameter in inspect.signature(found).parameters:
            words = text.replace("`", " ").replace(":", " ").replace(",", " ").replace(".", " ").split()
            obvious = parameter in (
                "base",
                "delta",
                "target",
                "origin",
                "journal",
                "version",
                "section",
                "model",
                "tokenizer",
            )
            assert parameter in words or obvious or parameter in text, (name, parameter)
    else:
        for attribute, value in inspect.getmembers(found, inspect.isfunction):
            if not attribute.startswith("_") and value.__qualname__.startswith(name):
                assert inspect.getdoc(value), f"{name}.{attribute}"
