"""Recipes and overrides with faults."""

from pathlib import Path

from depthopt.pipeline.recipe import load_recipe
from tests.golden.attempts import Attempt, command, refused

RECIPE = """\
model: {name: mobilenetv2_035, input_size: [1, 32, 32]}
data: {source: digits, calibration_images: 64}
teacher: {epochs: 1}
budget: {speedup: 1.5}
"""


def overrides() -> dict[str, Attempt]:
    given = (
        "budget.sped=3",
        "finetune.epoch=3",
        "latency.build.workspace=3",
        "latency.build.optimization_level=6",
        "latency.build=fast",
        "modle.name=x",
        "entirely_unknown=1",
        "candidates.length=3",
        "budget.ms=3",
        "budget.speedup=null",
        "budget.speedup=0",
        "budget.speedup=-1",
        "budget.speedup=fast",
        "budget.measured=perhaps",
        "trials.steps=-1",
        "trials.steps=1.5",
        "finetune.epochs=0",
        "finetune.optimizer=adam",
        "finetune.learning_rate=-0.1",
        "finetune.warmup=1",
        "finetune.label_smoothing=1.0",
        "finetune.ema_decay=1",
        "finetune.randaugment=strong",
        "finetune.mixed_precision=fp8",
        "finetune.trackers=tensorboard",
        "teacher=[]",
        "teacher=10",
        "model.input_size=[1, 32]",
        "model.input_size=[1, 0, 32]",
        "model.input_size=large",
        "model.name=3",
        "model.name=null",
        "model.arguments={channels: [1, 2]}",
        "model.checkpoint=3",
        "model={}",
        "data.crop_pct=0",
        "data.crop_pct=1.5",
        "data.interpolation=nearest",
        "data.damaged=ignore",
        "data.workers=-1",
        "data.calibration_images=0",
        "data.mean=0.5",
        "data.mean=[a]",
        "candidates.kinds=[drop, shrink]",
        "candidates.kinds=drop",
        "candidates.kernel_sizes=[0]",
        "candidates.kernel_sizes=3",
        "candidates.max_length=0",
        "latency.device=tpu",
        "latency.threads=0",
        "latency.batch=0",
        "importance.estimator=guess",
        "importance.images=0",
        "importance.ridges=[0]",
        "importance.train.epochs=0",
        "importance.train.epoch=1",
        "apply.form=folded",
        "apply.start=slowly",
        "apply.images=many",
        "seed=one",
        "finetune",
        "=3",
        "model.name.first=x",
        "budget.speedup=[1",
    )
    found = {
        f"override {override}": lambda override=override: refused(
            lambda: load_recipe(Path("recipe.yaml"), [override])
        )
        for override in given
    }
    for budget in ("{speedup: 2, measured: false}", "{cost: 0.5}"):
        both = [f"budget={budget}", "trials.steps=50"]
        found[f"overrides {' '.join(both)}"] = lambda both=both: refused(
            lambda: load_recipe(Path("recipe.yaml"), both)
        )
    return found


def recipes() -> dict[str, Attempt]:
    given = {
        "cut short": "model: [",
        "code": "!!python/object/apply:os.system ['true']",
        "words": "just words",
        "nothing": "",
        "a list": "- model\n- data\n",
        "no data": "model: {name: resnet18, input_size: [1, 32, 32]}\nbudget: {speedup: 2}",
        "no budget": "model: {name: resnet18, input_size: [1, 32, 32]}\ndata: {source: digits}",
        "no model name": "model: {input_size: [1, 32, 32]}\ndata: {source: digits}\n"
        "budget: {speedup: 2}",
        "a section that is null": RECIPE + "apply: null\n",
        "a number for a key": RECIPE + "3: 4\n",
        "tabs": "model:\n\tname: resnet18\n",
        "no text": "\0\1\2",
    }

    def attempt(content: str) -> str:
        Path("bad.yaml").write_text(content)
        return refused(lambda: load_recipe(Path("bad.yaml")))

    found: dict[str, Attempt] = {
        f"recipe: {name}": lambda content=content: attempt(content)
        for name, content in given.items()
    }
    found["recipe: missing"] = lambda: refused(lambda: load_recipe(Path("none.yaml")))
    found["recipe: a folder"] = lambda: refused(lambda: load_recipe(Path("run")))
    return found


def runs() -> dict[str, Attempt]:
    given = (
        "model.name=mobilenet_v9",
        "model.name=nothing_like_it",
        "model.arguments={drop_rates: 3}",
        "model.arguments={checkpoint_path: x.pth}",
        "model.input_size=[2, 32, 32]",
        "model.checkpoint=none.safetensors",
        "model.checkpoint=recipe.yaml",
        "model.checkpoint=fused/model.safetensors",
        "latency.runtime=onnxruntim",
        "latency.runtime=nothing",
        "latency.dtype=int4",
        "latency.build.optimization_level=5",
        "data.source=digit",
        "data.source=nothing",
        "data.source=folder:nowhere",
        "data.source=wds/nowhere",
        "data.calibration_images=5000",
        "data.mean=[0.1, 0.2]",
        "budget.sped=2",
    )
    return {
        f"run {override}": lambda override=override: command(
            "run", "recipe.yaml", override, "--run-dir", "started"
        )
        for override in given
    }
