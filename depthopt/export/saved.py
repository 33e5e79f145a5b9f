"""Save a compressed network as a folder: name, plan, and weights in safetensors."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from depthopt.core import digests, numbers
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.clipped import clipped
from depthopt.core.inputs import Inputs, InputSize, InputSpec
from depthopt.core.interpolation import Interpolation
from depthopt.core.plan import Plan
from depthopt.core.writing import remove_left_overs, write_bytes
from depthopt.errors import ArtefactError, ModelError, UsageError
from depthopt.export.noted import NOTE, note
from depthopt.export.onnx import export_onnx
from depthopt.extraction.extract import extract
from depthopt.graph.examples import batch_like
from depthopt.graph.network import TracedNetwork
from depthopt.graph.verify import difference, evaluating
from depthopt.kinds.registry import KINDS
from depthopt.models.code import given_arguments
from depthopt.models.memory import Original, made_from, memory_name
from depthopt.models.names import MODELS, is_given, source_of
from depthopt.models.registry import create_model, model_arguments
from depthopt.models.source import Argument
from depthopt.models.weights import dtype_of_weights, load_weights, save_weights
from depthopt.rewrite.options import Form
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from depthopt.tasks.registry import DEFAULT, TASKS

ROUNDING = 1e-6
"""Largest relative difference of outputs between a network and the same one loaded."""

_WEIGHTS = "model.safetensors"

_AGAIN = "save the network again; in a run's folder, start the run again"

_EXPORTS = (
    NOTE,
    "model.onnx",
    "model.int8.onnx",
    "model.xml",
    "model.bin",
    "model.engine",
    "model.engine.json",
    "model.engine.layers.json",
)
"""Files that ``depthopt export`` makes from the network beside them."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """Everything needed to make a compressed network again, except the weights.

    Attributes:
        name: the original's, of timm or ``SOURCE:NAME``; or what ``load`` asks for.
        arguments: what the original is made with, beside its name.
        plan: what was replaced.
        class_names: in the order of a classifier's outputs; empty if unknown.
        mean: per channel, of pixels in 0..1, subtracted from the input.
        std: per channel, of pixels in 0..1, that the input is divided by.
        form: of the plan's merges.
        fused: whether norms are folded and expanded segments composed.
        joined: whether fits in a row are one convolution; not in networks of earlier versions.
        interpolation: how images are resized: ``bilinear`` or ``bicubic``.
        crop_pct: share of the resized image's side that is kept.
        packages: that brought the plan's kinds, the source of the original, and the task, by their
            names; those of depthopt's own are left out.
        task: what the network is for.
        weights: SHA-256 of ``model.safetensors``; empty if an earlier version saved it.
    """

    name: str
    arguments: dict[str, Argument]
    plan: Plan
    class_names: tuple[str, ...] = ()
    mean: tuple[numbers.Finite, ...] = ()
    std: tuple[numbers.Positive, ...] = ()
    form: Form = "fused"
    fused: bool = field(default=False)
    joined: bool = field(default=False)
    interpolation: Interpolation = "bilinear"
    crop_pct: numbers.ShareAboveZero = 1.0
    packages: dict[str, str] = field(default_factory=dict)
    task: str = DEFAULT
    weights: str = ""

    @property
    def input_size(self) -> InputSize:
        """(channels, height, width) of the image, or the named inputs."""
        return self.plan.input_size

    def metadata(self) -> dict[str, str]:
        """The metadata of an ONNX file: where it comes from and what it expects.

        Numbers and lists are JSON. The plan's hash is the same for the same choices.
        """
        size, choices = self.input_size, json.dumps([choice.key for choice in self.plan.choices])
        look = {
            "input_size": str(size) if isinstance(size, InputSpec) else size,
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "class_names": self.class_names,
        }
        return {
            "depthopt.model": self.name,
            "depthopt.task": self.task,
            "depthopt.plan_sha256": hashlib.sha256(choices.encode()).hexdigest(),
            **{f"depthopt.{name}": json.dumps(value) for name, value in look.items()},
        }


def save(
    network: TracedNetwork,
    folder: str | Path,
    plan: Plan,
    *,
    arguments: Mapping[str, Argument] | None = None,
    task: str = DEFAULT,
    class_names: tuple[str, ...] = (),
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    interpolation: Interpolation = "bilinear",
    crop_pct: float = 1.0,
    images: Inputs | None = None,
    model: Original | None = None,
) -> SavedModel:
    """Write ``model.json`` and ``model.safetensors`` into ``folder``.

    What was exported of another network there before is removed.

    Args:
        network: what ``apply`` or ``fuse`` gave, trained or not.
        folder: made if it does not exist.
        plan: the plan that was applied; its model is the timm name.
        arguments: what the original was made with, beside its name.
        class_names: in the order of a classifier's outputs.
        task: what the network is for.
        mean: per channel, of pixels in 0..1, subtracted from the input.
        std: per channel, of pixels in 0..1, that the input is divided by.
        interpolation: how images are resized: ``bilinear`` or ``bicubic``.
        crop_pct: share of the resized image's side that is kept.
        images: 8 or more real images (N, C, H, W), or named inputs; with them ``model.onnx`` is
            written too, for any batch, and checked on them.
        model: the original, or the callable that makes it. It is needed where the plan's name does
            not belong to a source. ``load`` then asks for it too.

    Raises:
        UsageError: the original is made by code or was given in memory, and ``model`` is not.
        ModelError: ``load`` would not make this very network of the folder.
        DataError, ModelError, CheckFailed: as ``export_onnx``. Nothing is written then.
    """
    folder, name, given = Path(folder), plan.model, dict(arguments or {})
    if model is not None and not is_given(name):
        given = {**given_arguments(plan.input_size, None), **given}
        name = memory_name(made_from(model, given))
    saved = SavedModel(
        name=name,
        arguments=given | _new_head(network, plan, name),
        plan=plan,
        class_names=class_names,
        mean=mean,
        std=std,
        form=network.meta.get("form", "fused"),
        fused=network.meta.get("fused", False),
        joined=bool(network.meta.get("joined")),
        interpolation=interpolation,
        crop_pct=crop_pct,
        packages=_packages(plan, task),
        task=task,
    )
    _check_can_be_loaded(network, saved, model)
    with tempfile.TemporaryDirectory() as scratch:
        exported = None
        if images is not None:
            exported = Path(scratch) / "model.onnx"
            told = saved.metadata()
            export_onnx(network, exported, images=images, batch=None, task=task, metadata=told)
        return _written(network, saved, folder, exported)


def _written(
    network: TracedNetwork, saved: SavedModel, folder: Path, exported: Path | None
) -> SavedModel:
    """Write the folder's files, in an order that leaves no mixture of two networks.

    Stopped between the weights and ``model.json``, which says their digest, it leaves what
    ``load`` refuses.
    """
    said = folder / "model.json"
    remove_left_overs(folder)
    for name in _EXPORTS:
        (folder / name).unlink(missing_ok=True)
    if not _says_its_weights(folder):
        said.unlink(missing_ok=True)
    save_weights(network, folder / _WEIGHTS)
    saved = replace(saved, weights=digests.of_file(folder / _WEIGHTS))
    save_json(saved, said)
    if exported is not None:
        path = folder / exported.name
        write_bytes(path, exported.read_bytes())
        note(path)
    return saved


def _says_its_weights(folder: Path) -> bool:
    """Whether what lies in a folder would be refused with other weights."""
    try:
        return bool(load_saved(folder).weights)
    except ArtefactError:
        return False


def _packages(plan: Plan, task: str) -> dict[str, str]:
    used = [(KINDS, kind) for kind in sorted({choice.kind for choice in plan.choices})]
    used += [(MODELS, source_of(plan.model)), (TASKS, task)]
    found = {name: plugins.package_of(name) for plugins, name in used}
    return {name: package for name, package in found.items() if package is not None}


def _new_head(network: TracedNetwork, plan: Plan, name: str) -> dict[str, Argument]:
    """What makes the original with as many outputs as a last layer that was put in."""
    if "outputs" not in network.meta:
        return {}
    return model_arguments(name, plan.input_size, network.meta["outputs"])


def load(folder: str | Path, model: Original | None = None) -> TracedNetwork:
    """Load a network that ``save`` wrote, in evaluation mode.

    Nothing is imported because the folder says so: where the original is made by code, or was given
    in memory, it must be given again.

    Args:
        folder: what ``save`` wrote.
        model: the callable that makes the original, such as ``my_model.build``, or the original
            itself, whose weights do not matter; only where no source makes it by name.

    Raises:
        UsageError: the original must be given, or is made by its name.
        ArtefactError: a file is missing, damaged, was changed, or does not fit the other; or a
            weight is not finite.
        ModelError: its source does not know the model.
    """
    folder = Path(folder)
    saved, path = load_saved(folder), folder / _WEIGHTS
    network = _made(saved, model, str(folder)).to(dtype_of_weights(path))
    load_weights(network, path, own=True, sha256=saved.weights, instead=_AGAIN)
    return network.eval()


def _made(saved: SavedModel, given: Original | None, where: str) -> TracedNetwork:
    """The network that was saved, but for its weights."""
    for kind in sorted({choice.kind for choice in saved.plan.choices}):
        KINDS.get(kind, package=saved.packages.get(kind))
    model = _original(saved, given, where)
    chain = extract(model, saved.plan.input_size, name=saved.plan.model)
    network, _ = build(model, chain, saved.plan, saved.form)
    if not saved.joined:
        network.meta["joined"] = ()
    return fuse(network) if saved.fused else network


def _original(saved: SavedModel, given: Original | None, where: str) -> nn.Module:
    package = saved.packages.get(source_of(saved.name))
    arguments = {**saved.arguments, "pretrained": False}
    if package is not None or not is_given(saved.name):
        if given is not None:
            raise UsageError(
                f"{where} holds a network of {saved.name}, made by its name; leave model out"
            )
        return create_model(saved.name, arguments, package=package)
    if given is None:
        made = "was given in memory" if source_of(saved.name) == "memory" else "is made by code"
        raise UsageError(
            f"{where} holds a network of {clipped(saved.name)}, which {made}; depthopt never runs "
            "code because a file names it: in Python give what makes the network, "
            "depthopt.load(FOLDER, model=build); an ONNX file in the folder needs no code"
        )
    return made_from(given, arguments)


def _check_can_be_loaded(network: TracedNetwork, saved: SavedModel, model: Original | None) -> None:
    """Refuse a network that the folder would not say how to make again."""
    if model is None and is_given(saved.name):
        raise UsageError(
            f"{clipped(saved.name)} is made by code, or was given in memory: give what makes it, "
            "save(..., model=build)"
        )
    try:
        made = _made(saved, model, saved.name)
    except UsageError as error:
        raise ModelError(f"{saved.name} could not be loaded again: {error}") from error
    made.to(next(network.parameters()))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    for name, tensor in network.state_dict().items():
        if shapes.pop(name, None) != tuple(tensor.shape):
            again = {key: tuple(t.shape) for key, t in made.state_dict().items()}.get(name, "none")
            raise ModelError(
                f"{saved.name} could not be loaded again: {name} would be {again} and is "
                f"{tuple(tensor.shape)}; give the arguments that the original was made with"
            )
    if shapes:
        raise ModelError(
            f"{saved.name} could not be loaded again: {next(iter(shapes))} is not in the network"
        )
    made.load_state_dict(network.state_dict())
    inputs = batch_like(network, saved.input_size, 1)
    with evaluating(network):
        found = difference(network, made.eval(), inputs)
    if found > ROUNDING:
        raise ModelError(
            f"{saved.name} could not be loaded again: what load makes of its name, arguments and "
            f"plan gives outputs that differ by {found:.1e} relative"
        )


def load_saved(folder: Path) -> SavedModel:
    """Read a folder's ``model.json``.

    Raises:
        ArtefactError: it is missing or damaged.
    """
    return load_json(SavedModel, folder / "model.json")
