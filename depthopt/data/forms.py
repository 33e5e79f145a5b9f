"""What data sets are called, by the source that they come from; nothing of it is imported."""

import re

from depthopt.plugins import Plugins

FORMS = {
    "digits": "digits",
    "fashion_mnist": "fashion_mnist",
    "folder": "folder:PATH",
    "wds": "wds/PATH",
    "hfds": "hfds/NAME",
    "torch": "torch/NAME",
}
"""What data sets of depthopt's own sources are called, by source."""

DATA = Plugins(
    "depthopt.data",
    "source of data",
    {name: f"depthopt.data.classes:{name.upper()}" for name in FORMS},
)
"""Where examples come from: depthopt's own sources, and those of other packages."""


def known_forms() -> list[str]:
    """What data sets are called, by source; of those of other packages the source's name."""
    return [FORMS.get(name, name) for name in DATA.names]


def is_source(text: str) -> bool:
    """Whether a text is a data set's name of the form of its source; of foreign ones any is."""
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
