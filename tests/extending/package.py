"""The package of docs/guides/extending.md, installed into a folder as printed."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "extending.md"


def install(folder: Path) -> Path:
    """Write the page's modules and their metadata; ``folder`` then belongs on the path."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    metadata = folder / "separable-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: separable\nVersion: 1.0\n")
    (folder / "separable").mkdir()
    (folder / "separable" / "__init__.py").touch()
    for language, text in blocks:
        if language == "toml":
            points = re.sub(r'\[project\.entry-points\."(.+)"\]', r"[\1]", text)
            (metadata / "entry_points.txt").write_text(re.sub(r'"([\w.]+:\w+)"', r"\1", points))
        elif found := re.match(r"# ((separable/)?\w+\.(py|yaml))\n", text):
            (folder / found[1]).write_text(text)
    return folder


def broken(folder: Path, name: str, *, group: str, target: str) -> Path:
    """A package of one entry point that leads to ``target``."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\nseparable = {target}\n")
    return folder
