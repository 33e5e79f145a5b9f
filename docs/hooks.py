"""What the site does beside MkDocs: files of the repository that pages link to become pages too.

A page links to a file outside ``docs`` by its relative path, as GitHub wants it. Here such a file
is added below ``files/`` of the site and the link is changed to go there. ``CHANGELOG.md``,
``CONTRIBUTING.md`` and ``SECURITY.md`` are pages of their own, and a notebook becomes a page with
its pictures. The last hook refuses a site that asks another server for a script, style or font.
"""

import base64
import json
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
"""Files at the top, and the pages of the site that they are."""

_SHOWN = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash", ".toml": "toml", "": ""}
"""By a file's ending, the language that it is shown in; others are copied as they are."""

_LINK = re.compile(r"(!?\[(?:[^][]|\[[^]]*\])*\]\()([^)\s]+)(\))|(<img[^>]* src=\")([^\"]+)(\")")

_sources: dict[str, Path] = {}
"""The pages of the site that are not below docs as they are, and the files they are made of."""


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside ``docs`` that pages link to, and the notebooks."""
    _sources.clear()
    for name, uri in _PAGES.items():
        if uri != "index.md" and (ROOT / name).exists():
            _add(files, config, ROOT / name)
    for notebook in sorted(DOCS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in notebook.parts:
            _add_notebook(files, config, notebook)
    waiting = [DOCS / file.src_uri for file in files.documentation_pages() if not file.generated_by]
    waiting += list(_sources.values())
    while waiting:
        page = waiting.pop()
        text = page.read_text(encoding="utf-8") if page.suffix == ".md" else ""
        for target in _targets(text, page):
            uri = place_of(target)
            if files.get_file_from_path(uri) is None and not target.is_relative_to(DOCS):
                _add(files, config, target)
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository, changed to where they are on the site."""
    uri = page.file.src_uri
    source = _sources.get(uri, DOCS / uri)
    if source.suffix not in {".md", ".ipynb"}:
        return markdown

    def change(link: str) -> str:
        path, anchor, name = link.partition("#")
        target = resolved(path, source)
        if target is None:
            return link
        return posixpath.relpath(place_of(target), posixpath.dirname(uri) or ".") + anchor + name

    return _changed(markdown, change)


def on_post_build(config: Any) -> None:
    """Refuse what would ask another server for something."""
    asks = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    styles = re.compile(r"url\([\"']?(?:https?:)?//[^)]*\)|@import [\"'](?:https?:)?//[^;]*")
    found = []
    for path in Path(config.site_dir).rglob("*"):
        pattern = {".html": asks, ".css": styles}.get(path.suffix)
        if pattern is not None:
            text = path.read_text(encoding="utf-8")
            found += [f"{path}: {each[0][:120]}" for each in pattern.finditer(text)]
    found = [each for each in found if 'rel="canonical"' not in each]
    if found:
        raise PluginError("the site asks other servers:\n" + "\n".join(found[:20]))


def place_of(target: Path) -> str:
    """Where a file of the repository is on the site, as MkDocs names its source."""
    if target.is_dir():
        target /= "README.md"
    name = target.relative_to(ROOT).as_posix()
    if name in _PAGES:
        return _PAGES[name]
    if target.is_relative_to(DOCS):
        return (
            target.relative_to(DOCS)
            .with_suffix(".md" if target.suffix == ".ipynb" else target.suffix)
            .as_posix()
        )
    visible = "/".join(part.lstrip(".") for part in name.split("/"))
    return f"files/{visible}" + (".md" if target.suffix in _SHOWN else "")


def resolved(path: str, source: Path) -> Path | None:
    """The file of the repository that a link of a page leads to; None for anything else."""
    if not path or re.match(r"[a-z][a-z0-9+.-]*:|/", path):
        return None
    target = Path(os.path.normpath(source.parent / path))
    return target if target.exists() and target.is_relative_to(ROOT) else None


def _targets(text: str, source: Path) -> list[Path]:
    found: list[str] = []

    def keep(link: str) -> str:
        found.append(link)
        return link

    _changed(text, keep)
    targets = [resolved(link.partition("#")[0], source) for link in found]
    return [target / "README.md" if target.is_dir() else target for target in targets if target]


def _changed(markdown: str, change: Callable[[str], str]) -> str:
    """Markdown with its links changed; what stands in code stays."""
    lines, fence = markdown.splitlines(), ""
    for number, line in enumerate(lines):
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark:
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        elif not fence:
            lines[number] = _changed_line(line, change)
    return "\n".join(lines) + "\n"


def _changed_line(line: str, change: Callable[[str], str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        before, link, behind = (match[i] or match[i + 3] for i in (1, 2, 3))
        return before + change(link) + behind

    code = re.compile(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)")
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    shown = _LINK.sub(replaced, code.sub(hide, line))
    return re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], shown)


def _add(files: Files, config: Any, path: Path) -> None:
    uri = place_of(path)
    if path.suffix == ".md":
        files.append(File.generated(config, uri, content=path.read_text(encoding="utf-8")))
        _sources[uri] = path
    elif path.suffix in _SHOWN:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        head = "---\nsearch:\n  exclude: true\n---\n\n"
        page = f"{head}# {name}\n\n`````{_SHOWN[path.suffix]}\n{text.rstrip()}\n`````\n"
        files.append(File.generated(config, uri, content=page))
        _sources[uri] = path
    else:
        files.append(File.generated(config, uri, abs_src_path=str(path)))


def _add_notebook(files: Files, config: Any, path: Path) -> None:
    """A notebook as a page: its text, its code, and what the code gave."""
    uri = place_of(path)
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{path.stem}-{len(parts)}.png"
                content = base64.b64decode("".join(data["image/png"]))
                place = posixpath.join(posixpath.dirname(uri), picture)
                files.append(File.generated(config, place, content=content))
                parts.append(f"![What the code above draws]({picture})")
                continue
            said = "".join(output.get("text", data.get("text/plain", "")))
            parts.append(f"```text\n{said.rstrip()}\n```")
    files.append(File.generated(config, uri, content="\n\n".join(parts) + "\n"))
    _sources[uri] = path
