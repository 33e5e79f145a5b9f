"""A part of a detector made faster: how many of its boxes stay, and how much faster the whole is.

torchvision's Faster R-CNN with MobileNetV3, trained here for some minutes on scenes of
Fashion-MNIST (``recipes/scenes.py``). Its ``backbone.body`` is compressed without labels and put
back. Of the boxes that the original gives new scenes, those count as kept that have one of the same
class with an IoU of more than 0.5 among the boxes behind; and the other way round. What is done is
kept in the folder.

    python tests/benchmarks/detector.py --run-dir runs/detector --json detector.json
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.ops import box_iou

import depthopt
from depthopt.data.builtin import Images, fashion_mnist
from depthopt.models.weights import load_weights, save_weights

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))
from scenes import scene

SIDE, BATCH, SURE = 160, 8, 0.5
"""Pixels that a scene's side is resized to, scenes at a time, and the score of boxes that count."""


def detector() -> nn.Module:
    return fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=11, min_size=SIDE, max_size=SIDE,
        box_detections_per_img=10, box_batch_size_per_image=64, rpn_post_nms_top_n_train=300,
    )  # fmt: skip


def scenes(images: Images, seed: int, batches: int) -> Iterator[tuple[list[Tensor], list[dict]]]:
    generator = np.random.default_rng(seed)
    for _ in range(batches):
        pictures, targets = [], []
        for _ in range(BATCH):
            picture, _, pieces = scene(images, generator)
            pictures.append(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
            labels, boxes = zip(*pieces, strict=True)
            targets.append({"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)})
        yield pictures, targets


def trained(network: nn.Module, images: Images, steps: int, path: Path) -> nn.Module:
    if path.exists():
        load_weights(network, path)
        return network.eval()
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for step, (pictures, targets) in enumerate(scenes(images, 1, steps)):
        loss = sum(network.train()(pictures, targets).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {float(loss):.3f}", flush=True)
    save_weights(network, path)
    return network.eval()


def found(one: dict, other: dict) -> tuple[int, int]:
    """How many boxes there are, and how many of them the other has too."""
    if not len(one["boxes"]) or not len(other["boxes"]):
        return len(one["boxes"]), 0
    same = one["labels"][:, None] == other["labels"][None]
    return len(one["boxes"]), int(
        ((box_iou(one["boxes"], other["boxes"]) > 0.5) & same).any(1).sum()
    )


def sure(answer: dict) -> dict:
    return {key: value[answer["scores"] > SURE] for key, value in answer.items()}


@torch.no_grad()
def shares(pairs: list[tuple[list[dict], list[dict]]]) -> dict[str, float]:
    counts = np.zeros(4)
    for first, second in pairs:
        for one, other in zip(first, second, strict=True):
            counts += (*found(one, other), *found(other, one))
    return {"boxes": counts[0], "kept": counts[1] / counts[0], "not_new": counts[3] / counts[2]}


@torch.no_grad()
def answers(network: nn.Module, given: list[list[Tensor]]) -> list[list[dict]]:
    return [[sure(answer) for answer in network(pictures)] for pictures in given]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-dir", type=Path, default=Path("runs/detector"))
    parser.add_argument("--steps", type=int, default=1000, help="of the detector's training")
    parser.add_argument("--speedups", type=float, nargs="+", default=[1.5])
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    options.run_dir.mkdir(parents=True, exist_ok=True)
    to_train, to_test = fashion_mnist(None)
    begin = time.monotonic()
    network = trained(detector(), to_train, options.steps, options.run_dir / "whole.safetensors")
    print(f"trained in {time.monotonic() - begin:.0f} s")
    recorded = [pictures for pictures, _ in scenes(to_train, 2, 200)]
    tested = list(scenes(to_test, 3, 50))
    given, truth = [pictures for pictures, _ in tested], [targets for _, targets in tested]
    before = answers(network, given)
    rows = {"original": {"truth": shares(list(zip(truth, before, strict=True)))}}
    part = depthopt.part_of(network, "backbone.body", recorded)
    chain = depthopt.extract(part.module, part.data.input_size)
    kept = depthopt.kept_blocks(chain)
    plan = depthopt.Plan(chain.model, chain.input_size, kept, 1.0, 1.0, 0.0)
    same = part.put_back(depthopt.fuse(depthopt.apply(part.module, chain, plan)))
    rows["all kept"] = {"original": shares(list(zip(before, answers(same, given), strict=True)))}
    for speedup in options.speedups:
        done = depthopt.compress(
            part.module, part.data, speedup, run_dir=options.run_dir / "body", task="matching",
            overrides=[
                "candidates.kernel_sizes=[1,3]", "importance.images=256", "apply.images=256",
                "finetune.steps=600", "finetune.batch_size=16",
            ],
        )  # fmt: skip
        whole = part.put_back(done.network)
        behind = answers(whole, given)
        rows[f"{speedup:g}x"] = {
            "part_speedup": done.speedup,
            "part_error": done.result.compressed.metric,
            "part_untrained_error": done.result.untrained_metric,
            "whole_speedup_eager": part.speedup(whole),
            "original": shares(list(zip(before, behind, strict=True))),
            "truth": shares(list(zip(truth, behind, strict=True))),
        }
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
