"""The names of data sets, by source. Nothing is imported for them."""

import re

from depthopt.plugins import Plugins

FORMS = {
    "digits": "digits",
    "fashion_mnist": "fashion_mnist",
    "folder": "folder:PATH",
    "images": "images:PATH",
    "masks": "masks:PATH",
    "pairs": "pairs:PATH",
    "wds": "wds/PATH",
    "hfds": "hfds/NAME",
    "torch": "torch/NAME",
}
"""Names of the data sets of depthopt's own sources, by source."""

DATA = Plugins(
    "depthopt.data",
    "source of data",
    {name: f"depthopt.data.classes:{name.upper()}" for name in FORMS},
)
"""Sources of data: depthopt's own, and those of other packages."""


def known_forms() -> list[str]:
    """The names of data sets, by source. For other packages' sources, the source's name."""
    return [FORMS.get(name, name) for name in DATA.names]


def is_source(text: str) -> bool:
    """Whether a text is a data set's name of its source's form. Other packages' names all are."""
    name = re.split("[:/]", text, maxsplit=1)[0]
    separator, path = text[len(name) :][:1], text[len(name) + 1 :]
    if name not in DATA.names:
        return False
    if name not in FORMS:
        return True
    form = FORMS[name]
    if form == name:
        return not separator
    return bool(path) and form.startswith(name + separator)
