"""Exported graphs of compressed MobileNetV2 and ResNet-34 on photographs.

Each network, of random weights, is compressed by a random plan whose convolutions are regressed
on photographs, and exported for any batch. The table says what the file is made of, and by how
much ONNX Runtime's logits differ from torch's on 100 other photographs, at batch 1 and 8.

    python tests/benchmarks/exports.py --data TAR [--images 100] [--size 64]
"""

import argparse
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from depthopt.data.load import load_dataset
from depthopt.export.onnx import export_onnx, load_onnx
from tests.compressed import compressed

PLANS = {
    "mobilenetv2_100": {"kernel_sizes": (1, 3), "seed": 3},
    "resnet34": {"kernel_sizes": (1,), "seed": 1},
}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder or tar of train/, val/")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    size = (3, options.size, options.size)
    data = load_dataset(
        f"folder:{options.data}",
        input_size=size,
        calibration_images=256,
        seed=0,
        workers=0,
        check=False,
    )
    shown, _ = next(data.test.batches(options.images))
    for name, plan_options in PLANS.items():
        parts = [pixels for pixels, _ in islice(data.train.batches(16, shuffle_seed=0), 6)]
        network, plan = compressed(name, size, parts, **plan_options)
        wanted = network(shown)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(network, path, images=shown[:16], batch=None)
            kinds = Counter(node.op_type for node in load_onnx(path).graph.node)
            session = ort.InferenceSession(path)
        held = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        differences = []
        for batch in (1, 8):
            parts = [session.run(None, {"image": x.numpy()})[0] for x in shown.split(batch)]
            differences.append((wanted - torch.from_numpy(np.concatenate(parts))).abs().max())
        print(
            f"| {name} | {len(plan.replaced)} | {held} | {wanted.abs().max():.1f} "
            f"| {differences[0]:.1e} | {differences[1]:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
