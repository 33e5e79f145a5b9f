"""Valid inputs of every kind, small, in one folder: what the fuzzer changes."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from depthopt.check.history import Entry
from depthopt.core.artefacts import SCHEMA_VERSION, load_json, save_json, to_plain
from depthopt.core.candidate import kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.export.saved import save
from depthopt.extraction.extract import extract
from depthopt.models.registry import create_model
from depthopt.pipeline.recipe import load_recipe
from depthopt.shallow.apply import apply
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable, MeasurementConditions
from tests.check.models import convolutions
from tests.frontier import published_files

FIRST_VERSION = Path(__file__).parents[1] / "golden" / "version_1"
QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"

SHORT = """
model: {name: "small:residual", input_size: [1, 16, 16]}
data: {source: digits, calibration_images: 64, mean: [0.3], std: [0.4]}
teacher: &short {epochs: 1, batch_size: 64, learning_rate: 1e-3, seed: 3}
finetune: {<<: *short, mixup: 0.2}
candidates: {kinds: [drop, fit, merge], kernel_sizes: [1, 3], max_length: 6}
latency: {runtime: onnxruntime, threads: 1, batch: 1}
importance: {images: 128, ridges: [1.0e-3, 0.1]}
budget: {speedup: 1.5}
seed: 1
"""

_CLASSES = ("cat", "dog")


def fill(folder: Path) -> None:
    """Write all inputs; takes a few seconds."""
    torch.set_num_threads(1)
    _artefacts(folder)
    _recipes(folder)
    _network(folder / "saved")
    _images(folder)
    for name in ("times", "whole_times", "states", "extended", "merges", "scores", "accuracies"):
        (folder / f"{name}.csv").write_text(getattr(published_files, name.upper()))
    convolutions(folder / "model.onnx", 2, size=8)


def _artefacts(folder: Path) -> None:
    """A run's folder and table files, as the first version wrote them and as this one does."""
    shutil.copytree(FIRST_VERSION / "run" / "out", folder / "run")
    old = folder / "old"
    shutil.copytree(FIRST_VERSION / "artefacts", old)
    save_json(load_json(Chain, old / "chain.json"), folder / "chain.json")
    save_json(load_json(LatencyTable, old / "latency.json"), folder / "latency.json")
    save_json(load_json(ImportanceTable, old / "fit.json"), folder / "importance.json")
    conditions = MeasurementConditions("cpu", "onnxruntime", "1", 1, "float32", 1)
    entry = Entry("c", "2026-11-29T08:00:00+00:00", "a", "b", conditions, "pass", 1.5, 1.0)
    lines = [
        json.dumps({"schema_version": SCHEMA_VERSION, **to_plain(entry), "ratio": 1 + (i > 5) / 9})
        for i in range(9)
    ]
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")


def _recipes(folder: Path) -> None:
    (folder / "short.yaml").write_text(SHORT)
    (folder / "quickstart.yaml").write_text(QUICKSTART.read_text())
    whole = load_recipe(folder / "short.yaml").model_dump(mode="json")
    (folder / "whole.yaml").write_text(yaml.safe_dump(whole))


def _network(folder: Path) -> None:
    arguments = {"channels": 1, "outputs": 4}
    model = create_model("small:residual", arguments)
    chain = extract(model, (1, 16, 16), name="small:residual")
    plan = Plan("small:residual", (1, 16, 16), kept_blocks(chain), 1.0, 1.0, 0.0)
    network = apply(model, chain, plan)
    names = ("a", "b", "c", "d")
    save(network, folder, plan, arguments=arguments, class_names=names, mean=(0.5,), std=(0.5,))


def _images(folder: Path) -> None:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    image, images = Image.fromarray(pixels), folder / "images"
    images.mkdir()
    for extension in ("png", "jpg", "gif", "bmp", "ppm", "tiff", "webp"):
        image.save(images / f"x.{extension}")
    Image.fromarray(draw.integers(0, 65536, (9, 9), dtype=np.uint16)).save(images / "deep.png")
    image.convert("CMYK").save(images / "inks.jpg")
    content = (images / "x.jpg").read_bytes()
    with tarfile.open(folder / "folder.tar", "w") as tar:
        for split in ("train", "val"):
            for name in _CLASSES:
                for i in range(3):
                    _add(tar, f"{split}/{name}/{i}.jpg", content)
    shards = folder / "shards"
    shards.mkdir()
    for split in ("train", "val"):
        with tarfile.open(shards / f"x-{split}-00.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            for i in range(4):
                _add(tar, f"{i}.jpg", content)
                _add(tar, f"{i}.cls", str(i % 2).encode())
    (shards / "classes.txt").write_text("cat\ndog\n")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
