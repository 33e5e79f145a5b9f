"""What is changed, and what reads it: one function a kind of input.

Each takes a folder that holds all valid inputs and a generator of random numbers, changes one of
the inputs there, and gives a call that reads it: a command line, or a public reader.
"""

import json
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import yaml

from depthopt.check.baseline import read_baseline
from depthopt.check.history import read as read_history
from depthopt.check.history import steps
from depthopt.check.network_files import side_of
from depthopt.core import digests
from depthopt.core.artefacts import load_json
from depthopt.data.load import load_dataset
from depthopt.frontier.published import import_tables, read_importances, read_latencies
from depthopt.models.weights import load_weights
from depthopt.pipeline.recipe import load_recipe, recipe_yaml
from depthopt.pipeline.result import Result
from depthopt.runtimes.registry import get_runtime
from tests.frontier.published_files import CONDITIONS, chain
from tests.fuzz.mutate import (
    ODD_NUMBERS,
    ODD_TEXTS,
    changed_bytes,
    changed_text,
    changed_value,
)
from tests.resealed import write_resealed

_HUGE = 10**400

Call = Callable[[], object]


class Command(tuple[str, ...]):
    """A command line, to be run by ``depthopt.cli.main.main``."""

    __slots__ = ()


UNCHECKED = 0.7
"""Share of changed files that are read without a digest: else it alone is what refuses them."""

Case = Call | Command
Kind = Callable[[Path, random.Random], Case]


def _json(path: Path, draw: random.Random) -> None:
    """Change a JSON file: its values, its text, or its bytes."""
    what = draw.random()
    if what < 0.7:
        value = json.loads(path.read_text())
        if draw.random() < UNCHECKED:
            value.pop(digests.KEY, None)
        path.write_text(_dumped(changed_value(value, draw)), errors="surrogatepass")
    elif what < 0.85:
        path.write_text(changed_text(path.read_text(), draw), errors="surrogatepass")
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))


def _dumped(value: Any) -> str:
    """JSON, in which whole numbers may have more digits than Python writes."""
    return json.dumps(value, default=str).replace(str(_HUGE), "1" + "0" * 9000)


def recipe(folder: Path, draw: random.Random) -> Case:
    path = folder / draw.choice(("short.yaml", "quickstart.yaml", "whole.yaml"))
    what = draw.random()
    if what < 0.5:
        value = changed_value(yaml.safe_load(path.read_text()), draw)
        path.write_text(yaml.safe_dump(value, allow_unicode=True), errors="surrogatepass")
    elif what < 0.9:
        path.write_text(changed_text(path.read_text(), draw), errors="surrogatepass")
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    return lambda: recipe_yaml(load_recipe(path))


def overrides(folder: Path, draw: random.Random) -> Case:
    known = (
        "budget.speedup=2", "seed=3", "finetune.mixup=0.1", "data.std=[0.5]", "model.name=x",
        "importance.ridges=[0.1]", "latency.build.workspace_mib=5", "model.arguments={a: 1}",
    )  # fmt: skip
    key, _, value = draw.choice(known).partition("=")
    numbers = (str(number) for number in ODD_NUMBERS if number != _HUGE)
    odd = draw.choice((*ODD_TEXTS, *numbers, "[" * 900, value))
    given = [f"{key}={odd}", changed_text(f"{key}={value}", draw)]
    path = folder / "short.yaml"
    return lambda: recipe_yaml(load_recipe(path, given[: draw.choice((1, 2))]))


def dry_run(folder: Path, draw: random.Random) -> Case:
    recipe(folder, draw)
    name = draw.choice(("short.yaml", "whole.yaml"))
    return Command(("run", str(folder / name), "--dry-run", "--run-dir", str(folder / "new")))


def tables(folder: Path, draw: random.Random) -> Case:
    name = draw.choice(("latency", "importance", "chain", "old/latency", "old/fit", "old/chain"))
    _json(folder / f"{name}.json", draw)
    files = {"latency": "latency", "importance": "importance", "chain": "chain"}
    files |= {"importance" if name == "old/fit" else name.rpartition("/")[2]: name}
    paths = [str(folder / f"{files[each]}.json") for each in ("latency", "importance")]
    wish = draw.choice((("--speedup", "1.05"), ("--budget-ms", "9"), ("--speedup", "3")))
    more = draw.choice(((), (), ("--mode", "bucketed:0.01"), ("--objective", "exp_metric"),
                        ("--cap", "parameters=100000"), ("--cap", f"{paths[0]}=9"),
                        ("--cap", "memory=1000000")))  # fmt: skip
    chain_path = str(folder / f"{files['chain']}.json")
    return Command(("frontier", *paths, "--chain", chain_path, *wish, *more,
                    *draw.choice(((), ("--json",)))))  # fmt: skip


def run_folder(folder: Path, draw: random.Random) -> Case:
    files = sorted(p for p in (folder / "run").rglob("*") if p.suffix in {".json", ".yaml"})
    path = draw.choice(files)
    if path.suffix == ".json":
        _json(path, draw)
    else:
        path.write_text(changed_text(path.read_text(), draw), errors="surrogatepass")
    if draw.random() < 0.1:
        path.unlink()
    what = draw.random()
    if what < 0.15:
        return Command(("report", str(folder / "run"), "--out", str(folder / "new")))
    if what < 0.3:
        out = str(folder / "new" / "c.html")
        return Command(("compare", str(folder / "run"), str(folder / "run"), "--out", out))
    if what < 0.4:
        return lambda: load_json(Result, folder / "run" / "result.json")
    return Command(("report", str(folder / "run"), "--summary"))


def _predict(folder: Path, image: str = "x.png") -> Command:
    return Command(("predict", str(folder / "saved"), str(folder / "images" / image), "--json"))


def saved_network(folder: Path, draw: random.Random) -> Case:
    _json(folder / "saved" / "model.json", draw)
    return _predict(folder)


def weights(folder: Path, draw: random.Random) -> Case:
    path = folder / "saved" / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    if draw.random() < UNCHECKED:
        said = folder / "saved" / "model.json"
        told = json.loads(said.read_text()) | {"weights": ""}
        write_resealed(said, told)
        head = json.loads(content[8 : 8 + size])
        del head["__metadata__"][digests.KEY]
        text = json.dumps(head).encode()
        content = struct.pack("<Q", len(text)) + text + content[8 + size :]
        size = len(text)
    if draw.random() < 0.5:
        head = changed_value(json.loads(content[8 : 8 + size]), draw)
        text = _dumped(head).encode(errors="surrogatepass")
        told = draw.choice((len(text), len(text), len(text), 0, 2**63, 2**64 - 1, 10**15))
        path.write_bytes(struct.pack("<Q", told) + text + content[8 + size :])
    else:
        path.write_bytes(changed_bytes(content, draw))
    if draw.random() < 0.2:
        from depthopt.models.registry import create_model

        network = create_model("small:residual", {"channels": 1, "outputs": 4})
        return lambda: load_weights(network, path)
    return _predict(folder)


def image(folder: Path, draw: random.Random) -> Case:
    path = draw.choice(sorted((folder / "images").iterdir()))
    content = bytearray(path.read_bytes())
    if path.suffix == ".png" and draw.random() < 0.3:
        sizes = (0, 1, 2, 1000, 10**6, 2**31 - 1, 2**32 - 1)
        content[16:24] = struct.pack(">II", draw.choice(sizes), draw.choice(sizes))
        _check_again(content)
    elif path.suffix == ".bmp" and draw.random() < 0.3:
        sizes = (0, 1, -1, 10**4, 10**6, 2**31 - 1, -(2**31))
        content[18:26] = struct.pack("<ii", draw.choice(sizes), draw.choice(sizes))
    else:
        content = bytearray(changed_bytes(bytes(content), draw))
    path.write_bytes(content)
    return _predict(folder, path.name)


def _check_again(png: bytearray) -> None:
    """A right checksum for a PNG's header."""
    import zlib

    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))


def tar(folder: Path, draw: random.Random) -> Case:
    shard = draw.random() < 0.5
    path = folder / ("shards/x-train-00.tar" if shard else "folder.tar")
    content = bytearray(path.read_bytes())
    if draw.random() < 0.6:
        _change_header(content, draw)
        path.write_bytes(content)
    elif shard and draw.random() < 0.3:
        names = folder / "shards" / "classes.txt"
        names.write_bytes(changed_bytes(names.read_bytes(), draw))
    else:
        path.write_bytes(changed_bytes(bytes(content), draw))
    source = "wds/shards" if shard else "folder:folder.tar"
    return lambda: next(
        load_dataset(
            source,
            input_size=(3, 8, 8),
            calibration_images=2,
            seed=0,
            root=folder,
            workers=0,
            skip_damaged=draw.random() < 0.3,
        ).train.batches(2)
    )


def _change_header(content: bytearray, draw: random.Random) -> None:
    """Change a field of a header, and its checksum with it."""
    at = 512 * draw.randrange(len(content) // 512)
    field, width = draw.choice(((0, 100), (100, 8), (124, 12), (124, 12), (124, 12), (156, 1),
                                (157, 100), (257, 8), (345, 155)))  # fmt: skip
    odd = draw.choice(
        (
            b"7" * width,
            b"\xff" * width,  # a negative number in base 256
            b"\x80" + b"\xff" * (width - 1),
            b"\xff" * (width - 2) + b"\xfe\x00",
            b"\0" * width,
            draw.randbytes(width),
            b"-1",
            draw.choice((b"x", b"g", b"L", b"K", b"S", b"1", b"2", b"5", b"3", b"D", b"N")),
        )
    )
    content[at + field : at + field + width] = odd[:width].ljust(width, b"\0")
    content[at + 148 : at + 156] = b" " * 8
    total = sum(content[at : at + tarfile.BLOCKSIZE])
    content[at + 148 : at + 156] = b"%06o\0 " % total


def csv(folder: Path, draw: random.Random) -> Case:
    pair = draw.choice((("times", None), ("merges", "scores"), ("merges", "accuracies"),
                        ("whole_times", "states"), ("whole_times", "extended")))  # fmt: skip
    name = draw.choice([each for each in pair if each])
    path = folder / f"{name}.csv"
    if draw.random() < 0.8:
        path.write_text(changed_text(path.read_text(), draw), errors="surrogatepass")
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    latency, importance = (each and folder / f"{each}.csv" for each in pair)
    if draw.random() < 0.1:
        more = () if importance is None else ("--importance", str(importance))
        where = ("--device=d", "--runtime=r", "--runtime-version=1", "--dtype=f", "--batch=1")
        out = ("--input-size", "1,16,16", "--out", str(folder / "new"))
        return Command(("tables", "import", "small:residual", "--latency", str(latency), *more,
                        *where, *out))  # fmt: skip
    return lambda: import_tables(
        chain(),
        CONDITIONS,
        read_latencies(Path(latency or "")),
        None if importance is None else read_importances(importance),
        first_block=1,
    )


def onnx_file(folder: Path, draw: random.Random) -> Case:
    path = folder / "model.onnx"
    if draw.random() < 0.7:
        model = onnx.load(path)
        for _ in range(draw.choice((1, 1, 2, 4))):
            _change_model(model, draw)
        path.write_bytes(model.SerializeToString())
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    runtime = get_runtime(draw.choice(("onnxruntime", "onnxruntime", "torch")))
    return lambda: side_of(path, runtime=runtime, batch=1, scratch=folder)


_SIZES = (-1, 0, 1, 2, 10**6, 10**9, 2**40, 2**62)
_OPERATORS = (
    "Relu", "Conv", "ConstantOfShape", "Reshape", "InstanceNormalization", "If", "Loop", "Nope",
    "MatMulNBits", "DequantizeLinear", "Constant", "Split", "Expand", "Tile",
)  # fmt: skip
_PLACES = ("../x", "/etc/passwd", "short.yaml", "", "a\0b", "images")


def _change_model(model: onnx.ModelProto, draw: random.Random) -> None:
    draw.choice((_change_node, _change_node, _change_tensor, _change_tensor, _change_rest))(
        model, draw
    )


def _change_node(model: onnx.ModelProto, draw: random.Random) -> None:
    graph = model.graph
    node = draw.choice(graph.node) if graph.node else graph.node.add(op_type="Relu")
    names = [*(t.name for t in graph.initializer), *(o for n in graph.node for o in n.output), "no"]
    what = draw.randrange(5)
    if what == 0:
        node.op_type = draw.choice(_OPERATORS)
    elif what == 1 and node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice((*names, ""))
    elif what == 2 and node.input:
        del node.input[draw.randrange(len(node.input)) :]
    elif what == 3 and node.attribute:
        attribute = draw.choice(node.attribute)
        attribute.ints[:] = [draw.choice(_SIZES)] * draw.choice((0, 1, 4))
        attribute.i = draw.choice(_SIZES)
    else:
        node.input.append(draw.choice(names))


def _change_tensor(model: onnx.ModelProto, draw: random.Random) -> None:
    tensors = model.graph.initializer
    tensor = draw.choice(tensors) if tensors else tensors.add()
    what = draw.randrange(4)
    if what == 0 and tensor.dims:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(_SIZES)
    elif what == 1:
        tensor.raw_data = changed_bytes(tensor.raw_data, draw)
    elif what == 2:
        tensor.data_type = draw.randrange(30)
    else:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        beside = ("location", draw.choice(_PLACES)), ("offset", "-5"), ("length", str(2**62))
        for key, found in beside:
            tensor.external_data.add(key=key, value=found)


def _change_rest(model: onnx.ModelProto, draw: random.Random) -> None:
    graph = model.graph
    what = draw.randrange(3)
    if what == 0 and graph.input:
        value = draw.choice([*graph.input, *graph.output])
        dims = value.type.tensor_type.shape.dim
        (draw.choice(dims) if dims else dims.add()).dim_value = draw.choice(_SIZES)
    elif what == 1 and graph.node:
        graph.node.add().CopyFrom(draw.choice(graph.node))
    else:
        model.opset_import[0].version = draw.choice((-1, 0, 1, 7, 13, 30, 2**40))


def baseline(folder: Path, draw: random.Random) -> Case:
    path = folder / draw.choice(("old/baseline.json", "latency.json", "old/latency.json"))
    _json(path, draw)
    return lambda: read_baseline(path)


def history(folder: Path, draw: random.Random) -> Case:
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines()
    i = draw.randrange(len(lines))
    if draw.random() < 0.7:
        value = json.loads(lines[i])
        value.pop(digests.KEY, None)
        lines[i] = _dumped(changed_value(value, draw))
    else:
        lines[i] = changed_text(lines[i], draw)
    path.write_text("\n".join(lines), errors="surrogatepass")
    if draw.random() < 0.1:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    return lambda: steps(read_history(path))


def gate(folder: Path, draw: random.Random) -> Case:
    """``check`` on what is damaged; its exit status is never 1 of that."""
    model, other = str(folder / "model.onnx"), str(folder / "other.onnx")
    what = draw.random()
    if what < 0.4:
        onnx_file(folder, draw)
        damaged = changed_bytes((folder / "model.onnx").read_bytes(), draw)[:-9]
        (folder / "other.onnx").write_bytes(damaged)
        return Command(("check", other, model, "--seconds", "0.1"))
    if what < 0.7:
        history(folder, draw)
        (folder / "history.jsonl").open("a").write("\n{")
        path = str(folder / "history.jsonl")
        return Command(("check", model, model, "--seconds", "0.1", "--history", path))
    _json(folder / "old" / "baseline.json", draw)
    (folder / "old" / "baseline.json").open("a").write("}")
    return Command(("check", model, "--against", str(folder / "old" / "baseline.json")))


def command_line(folder: Path, draw: random.Random) -> Case:
    begin = draw.choice([*(options := _options(folder))])
    given = [draw.choice(options[begin]) for _ in range(draw.choice((1, 2)))]
    odd = [_odd_word(folder, draw) for _ in given]
    words = [f"{name}={word}".removeprefix("=") for name, word in zip(given, odd, strict=True)]
    return Command((*begin, *words))


def _odd_word(folder: Path, draw: random.Random) -> str:
    """What may stand on a command line, in which no word has a NUL or half of a character."""
    numbers = [str(number) for number in ODD_NUMBERS if number != _HUGE]
    word = draw.choice(
        (*ODD_TEXTS, *numbers, str(folder), str(folder / "no"), changed_text("3,8,8", draw))
    )
    return word.replace("\0", "").replace("\ud800", "")


def _options(folder: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Commands that end soon, and their options; an empty one is an argument."""
    tables = str(folder / "latency.json"), str(folder / "importance.json")
    times = "tables", "import", "small:residual", "--latency", str(folder / "times.csv")
    return {
        ("extract", "small:residual"): ("--input-size", "--svg", "--dot", "--run-dir", ""),
        ("doctor", "small:residual"): ("--input-size", ""),
        ("frontier", *tables, "--chain", str(folder / "chain.json")): (
            "--speedup", "--budget-ms", "--mode", "--cap", "--keep", "--replace", "--objective",
            "--out", "--csv", "--chain",
        ),
        times: ("--batch", "--threads", "--original-ms", "--first-block", "--input-size", "--out"),
        tuple(_predict(folder)): ("--top", ""),
        ("check", "no.onnx", "no.onnx"): (
            "--tolerance", "--batch", "--threads", "--seconds", "--metric-tolerance", "--runtime",
            "--device", "",
        ),
        ("profile", "no_such"): (
            "--seconds-per-entry", "--batch", "--validate", "--kernel-sizes", "--max-length",
            "--seed", "--build", "--kinds", "",
        ),
        ("report", str(folder / "run"), "--summary"): ("--out", ""),
        ("run", str(folder / "short.yaml"), "--dry-run"): ("", "--run-dir"),
        ("solve", "no.yaml"): ("--speedup", "--budget-ms", ""),
    }  # fmt: skip


KINDS: dict[str, tuple[int, Kind]] = {
    "recipe": (10, recipe),
    "overrides": (4, overrides),
    "tables": (12, tables),
    "run folder": (10, run_folder),
    "saved network": (8, saved_network),
    "weights": (8, weights),
    "ONNX": (12, onnx_file),
    "image": (10, image),
    "tar": (10, tar),
    "CSV": (10, csv),
    "baseline": (8, baseline),
    "history": (6, history),
    "command line": (12, command_line),
    "dry run": (1, dry_run),
    "check": (2, gate),
}
"""By name: how often of all, and what makes a case."""
