"""Write the two generated pages of the reference: recipe keys and commands.

    python docs/reference/generate.py

writes ``recipe.md`` from the recipe's schema and ``cli.md`` from the commands, beside this file.
``tests/docs/test_reference.py`` fails when either is not what the code says.
"""

import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic import BaseModel, TypeAdapter

from depthopt.cli.main import COMMANDS, app
from depthopt.pipeline.recipe import Recipe
from depthopt.runtimes.tensorrt.options import BuildOptions
from depthopt.train.config import TrainConfig
from depthopt.workflow.commented import attributes

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"

_WRITTEN = "<!-- Written by docs/reference/generate.py: change the code, not this page. -->"

_RECIPE_HEAD = """\
# Recipe keys

A recipe is a YAML file that says what to compress, how fast it must get, and how. It has the
sections below. Three are needed: `model`, `data` and `budget`. Every other key has a default.

```yaml
model:
  name: mobilenetv2_100
  input_size: [1, 32, 32]
data:
  source: digits
budget:
  speedup: 2.0
```

You can change any key on the command line, as `SECTION.KEY=VALUE`:

```bash
depthopt run quickstart budget.speedup=1.5 finetune.epochs=8
```

An unknown key is an error. The message names the nearest key that exists.
[Writing a recipe](../guides/recipes.md) is the guide, and
[`depthopt init`](cli.md#depthopt-init) writes one with a comment on every key.
"""

_RECIPES_HEAD = """\
## Recipes that come with depthopt

`depthopt recipes` lists them, and `depthopt recipes NAME` prints one. Each begins with what it
needs and the exact command. [The guide](../guides/recipes.md) says which of them have been run.
"""

_NEEDS = {
    "digits": "Nothing is downloaded",
    "fashion_mnist": "Fashion-MNIST",
    "folder:imagenet": "ImageNet",
    "masks:data/scenes": "Scenes of Fashion-MNIST",
    "pairs:data/noisy": "Noisy photographs",
    "images:data/photographs": "Photographs",
    "masks:data/voc": "Pascal VOC",
}
"""By a recipe's ``data.source``, what has to be there."""

_CLI_HEAD = """\
# Commands

`depthopt COMMAND --help` prints what stands here. An argument in square brackets may be left out.
[Exit statuses](errors.md) are the same for all commands.
"""


def recipe_page() -> str:
    """Every key of a recipe: its type, its default and what it means."""
    defs = Recipe.model_json_schema()["$defs"]
    fields = Recipe.model_fields
    schema = Recipe.model_json_schema()["properties"]
    parts = [_WRITTEN, "", _RECIPE_HEAD, "## Keys outside sections", ""]
    plain = [name for name in fields if "$ref" not in schema[name]]
    parts += _table((name, schema[name], fields[name].description) for name in plain)
    training = attributes(TrainConfig)
    for name, info in fields.items():
        if name in plain or name == "finetune":
            continue
        section: Any = info.annotation
        properties = defs[section.__name__]["properties"]
        if issubclass(section, BaseModel):
            said = {key: field.description for key, field in section.model_fields.items()}
            parts += ["", f"## {name}", "", _sentence(inspect.getdoc(section) or ""), ""]
            parts += _table(
                (key, _with_need(value, key, defs[section.__name__]), said[key])
                for key, value in properties.items()
            )
        else:
            parts += ["", "## teacher and finetune", "", _TRAINING, ""]
            parts += _table((key, value, training[key]) for key, value in properties.items())
        if name == "latency":
            options = defs["BuildOptions"]["properties"]
            said = attributes(BuildOptions)
            parts += ["", "### latency.build", "", "How TensorRT builds its engines.", ""]
            parts += _table((key, value, said[key]) for key, value in options.items())
    return "\n".join([*parts, "", _RECIPES_HEAD, *_recipes()]) + "\n"


_TRAINING = (
    "How the original is trained where it has no weights (`teacher`), and how the faster network "
    "is trained (`finetune`). Both sections have the same keys."
)


def _with_need(value: Mapping[str, Any], key: str, section: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "needed": key in section.get("required", ())}


def _table(rows: Any) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for key, value, said in rows:
        default = "needed" if value.get("needed") else _default(value)
        meaning = _sentence(said or "", _choices(value))
        yield f"| `{key}` | {_type(value)} | {default} | {meaning} |"


def _choices(value: Mapping[str, Any]) -> list[str]:
    """The names that a key may have as its value."""
    inner = [*value.get("anyOf", ()), *([value["items"]] if "items" in value else [])]
    return [*value.get("enum", ()), *(name for each in inner for name in _choices(each))]


def _type(value: Mapping[str, Any]) -> str:
    """A JSON schema's type in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return "the keys of `finetune`" if name == "TrainConfig" else "[keys](#latencybuild)"
    if (choices := value.get("anyOf")) is not None:
        return " or ".join(_type(each) for each in choices)
    if (names := value.get("enum")) is not None:
        return ", ".join(f"`{name}`" for name in names)
    if value["type"] == "array":
        return _list(value)
    if value["type"] == "string":
        return "path" if value.get("format") == "path" else "text"
    kind = {"object": "keys and values", "boolean": "true or false"}.get(value["type"])
    return kind or value["type"] + _range(value)


def _list(value: Mapping[str, Any]) -> str:
    if "prefixItems" in value:  # an input's size
        return f"list of {len(value['prefixItems'])} integers, or text"
    items = re.sub(r"^(integer|number)", r"\1s", _type(value["items"])).replace("text", "names")
    return f"list of {items}"


def _range(value: Mapping[str, Any]) -> str:
    low, over, high, below = (value.get(bound) for bound in ("ge", "gt", "le", "lt"))
    if high is not None and high >= 4096:  # a limit that nobody comes near
        high = None
    if over == 0 and value.get("type") == "integer":
        low, over = 1, None
    said = {"≥": low, ">": over, "≤": high, "<": below}
    found = [f"{sign} {bound:g}" for sign, bound in said.items() if bound is not None]
    return f" {', '.join(found)}" if found else ""


def _default(value: Mapping[str, Any]) -> str:
    if "default" not in value:
        return ""
    default = value["default"]
    if isinstance(default, dict):
        usual = TypeAdapter(TrainConfig).dump_python(TrainConfig(), mode="json")
        said = [f"`{key}: {each}`" for key, each in default.items() if each != usual.get(key, each)]
        return ", ".join(said)
    if default is None:
        return "null"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, (list, tuple)):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default}`"


_CODE = re.compile(
    r"(?<![\w`./:])(--[a-z][a-z-]*|\.(?:safetensors|pth|pt|ckpt|tar)\b|[\w.]*[\w]+[:=][\w/\[\].,:=]+\w\]?"
    r"|[a-z0-9]+/(?:PATH|NAME)|[A-Z]+\.py:[A-Z]+|[a-z]+(?:_[a-z0-9]+)+|[a-z]+\.[a-z][a-z_.]*[a-z])"
)
"""What stands in code font without being marked so: options, file endings, KEY=VALUE, names."""


def _sentence(text: str, choices: Sequence[str] = ()) -> str:
    """One that begins with a capital and ends with a full stop, fit for a cell of a table."""
    said = " ".join(text.partition("\n\n")[0].replace("``", "`").split())
    said = said.replace("None ", "`null` ").rstrip(".")
    if not said:
        return ""
    words = "|".join(re.escape(each) for each in choices)
    marked = re.sub(rf"(?<![\w`-])({words})(?![\w`'-])", r"`\1`", said) if words else said
    pieces = marked.split("`")
    pieces[::2] = [_CODE.sub(r"`\1`", piece) for piece in pieces[::2]]
    marked = "`".join(pieces)
    if re.match(r"[a-z]+[ ,:']", marked):
        marked = marked[0].upper() + marked[1:]
    return marked.replace("|", "\\|") + "."


def _recipes() -> Iterator[str]:
    """The shipped recipes, below what they need."""
    by_need: dict[str, list[str]] = {}
    for path in sorted(RECIPES.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        source = yaml.safe_load(text)["data"]["source"]
        purpose = text.partition("\n")[0].removeprefix("# ").removeprefix("Quickstart: ")
        row = f"| [{path.stem}](../../recipes/{path.name}) | {purpose} |"
        by_need.setdefault(_NEEDS[source], []).append(row)
    for need in dict.fromkeys(_NEEDS.values()):
        yield from ["", f"### {need}", "", "| recipe | what |", "|---|---|", *by_need.pop(need)]
    if by_need:
        raise ValueError(f"recipes of no known need: {by_need}")


_LOUDNESS = ("verbose", "quiet")
"""Options that every command takes."""

_EVERYWHERE = "`--verbose` and `--quiet` may also stand behind any command."


def cli_page() -> str:
    """Every command: its help, its arguments and its options."""
    group: Any = typer.main.get_command(app)
    parts = [_WRITTEN, "", _CLI_HEAD, "| command | what it does |", "|---|---|"]
    parts += [
        f"| [`{name}`](#depthopt-{name}) | {_cell(entry.purpose)} |"
        for name, entry in COMMANDS.items()
    ]
    parts += ["", "## depthopt", "", _EVERYWHERE, ""]
    parts += _parameters(group, ("install_completion", "show_completion"))
    for name in COMMANDS:
        parts += _command(group.get_command(None, name), f"depthopt {name}", "##")
    return "\n".join(parts) + "\n"


def _command(command: Any, name: str, level: str) -> Iterator[str]:
    yield from ["", f"{level} {name}", ""]
    yield from _help(command.help or "")
    inner = getattr(command, "commands", None)
    if inner is not None:
        for each, found in inner.items():
            yield from _command(found, f"{name} {each}", f"{level}#")
        return
    words = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    yield from ["```text", " ".join([name, "[OPTIONS]", *words]), "```", ""]
    yield from _parameters(command)


def _help(text: str) -> Iterator[str]:
    """Paragraphs, of which a command that is indented or printed as it is becomes code."""
    for paragraph in inspect.cleandoc(text.replace("\b", "")).replace("\f", "").split("\n\n"):
        lines = paragraph.splitlines()
        example = " ".join(line.strip() for line in lines).removeprefix("For example: ")
        if all(line.startswith("    ") for line in lines if line):
            yield from ["```text", inspect.cleandoc(paragraph), "```", ""]
        elif lines[0].startswith("For example: "):
            yield from ["For example:", "", "```text", example, "```", ""]
        else:
            yield from [_markdown(" ".join(line.strip() for line in lines)), ""]


def _markdown(text: str) -> str:
    """Help with its options in code font; what is between backticks is left alone."""
    pieces = text.replace("``", "`").split("`")
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"`\1`", pieces[i]).replace("*", "\\*")
        pieces[i] = pieces[i].replace("<", "&lt;")
    return "`".join(pieces)


def _cell(text: str) -> str:
    return _markdown(" ".join(text.split())).replace("|", "\\|")


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    if parameter.required or name.startswith("["):
        return str(name)
    return f"[{name}]" + ("..." if parameter.nargs == -1 else "")


def _parameters(command: Any, hidden: Sequence[str] = _LOUDNESS) -> Iterator[str]:
    hints = _types(command.callback)
    rows = []
    for parameter in sorted(command.params, key=lambda each: each.param_type_name != "argument"):
        if getattr(parameter, "hidden", False) or parameter.name in hidden:
            continue
        if parameter.param_type_name == "argument":
            name = f"`{_argument(parameter)}`"
        else:
            name = ", ".join(f"`{each}`" for each in [*parameter.opts, *parameter.secondary_opts])
        default = _option_default(parameter)
        kind = "" if getattr(parameter, "is_flag", False) else hints.get(parameter.name, "text")
        rows.append(f"| {name} | {kind} | {default} | {_sentence(parameter.help or '')} |")
    if rows:
        yield from ["| argument or option | type | default | meaning |", "|---|---|---|---|", *rows]


def _option_default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "needed"
    if default is None or default is False or callable(default) or default in ((), []):
        return ""
    if isinstance(default, (list, tuple)):
        return " ".join(f"`{each}`" for each in default)
    if default is True:
        return "on"
    return f"`{getattr(default, 'value', default)}`"


def _types(function: Any) -> dict[str, str]:
    """By parameter, its type in a word."""
    if function is None:
        return {}
    signature = inspect.signature(function, eval_str=True)
    return {name: _word(each.annotation) for name, each in signature.parameters.items()}


def _word(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _word(annotation.__origin__)
    if origin in (Union, types.UnionType):
        return _word(next(each for each in inner if each is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in (list, tuple, Sequence):
        return f"{_word(inner[0])}, several"
    if isinstance(annotation, type) and hasattr(annotation, "__members__"):
        return ", ".join(f"`{each.value}`" for each in annotation)  # type: ignore[attr-defined]
    return {int: "integer", float: "number", Path: "path"}.get(annotation, "text")


PAGES = {"recipe.md": recipe_page, "cli.md": cli_page}
"""What is written, by file."""


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
        print(HERE / name)  # noqa: T201 - what was written


if __name__ == "__main__":
    main()
