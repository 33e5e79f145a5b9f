"""What pyproject.toml cannot say: where the package's folders lie, and the README's links.

The recipes and the measured latency tables lie at the top of the repository, where people look
for them, and below the package where it is installed.
"""

import re
import tomllib
from pathlib import Path

from setuptools import find_packages, setup

MAPPED = {
    "depthopt.recipes": "recipes",
    "depthopt.latency_tables": "latency_tables",
    "depthopt.latency_tables.amd-epyc": "latency_tables/amd-epyc",
}

_PICTURE = re.compile(r"\[!\[([^]]*)\]\(([^)\s]+)\)\]\(([^)\s]+)\)")
_LINK = re.compile(r"(?<!!)\[([^][]+)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|#|/")


def for_index(text: str, address: str | None, ref: str) -> str:
    """The README as a package index shows it.

    On GitHub its links are relative; an index has no folder that they could be relative to. With
    the repository's address (``[project.urls] Repository``) they lead there. Without one, a link
    becomes its text and a picture is left out, so that no link is dead.

    Args:
        text: the README.
        address: of the repository.
        ref: its tag of this version.
    """

    def at(kind: str, target: str) -> str:
        return target if _ELSEWHERE.match(target) else f"{address}/{kind}/{ref}/{target}"

    def picture(found: re.Match[str]) -> str:
        told, source, target = found.groups()
        if address is None and not _ELSEWHERE.match(source):
            return ""
        return f"[![{told}]({at('raw', source)})]({at('blob', target)})"

    def link(found: re.Match[str]) -> str:
        name, target = found.groups()
        if _ELSEWHERE.match(target):
            return found[0]
        return name if address is None else f"[{name}]({at('blob', target)})"

    parts = _CODE.split(text)
    parts[::2] = [_LINK.sub(link, _PICTURE.sub(picture, part)) for part in parts[::2]]
    return "".join(parts)


def readme() -> str:
    """The README for an index, by what pyproject.toml says."""
    here = Path(__file__).parent
    project = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    text = (here / "README.md").read_text(encoding="utf-8")
    return for_index(text, address, f"v{project['version']}")


if __name__ == "__main__":
    setup(
        packages=[*find_packages(include=["depthopt*"]), *MAPPED],
        package_dir=MAPPED,
        long_description=readme(),
        long_description_content_type="text/markdown",
    )
