"""What extraction finds in timm's models, as a Markdown table.

    python tests/benchmarks/zoo_table.py [--transformers] [--models NAME,GLOB,...] [--size 224]
    python tests/benchmarks/zoo_table.py --every every.json

Shares are of all multiply-accumulates of convolutions, linear layers and attention: those that lie
in segments longer than one block that merge into one convolution, and those in segments that can be
replaced, as a whole where a gate or pooling lies inside. Seconds are those of the processor, for
extraction alone. Transformers have the size that they were made for. ``--every`` goes through all
of timm, without memory for weights and at 64x64 where a model takes that, and goes on where it was
stopped.
"""

import argparse
import json
import re
import resource
import statistics
import time
from collections import Counter
from pathlib import Path

import timm
import torch
from torch import nn

from depthopt.core.chain import Chain
from depthopt.core.operators import reads_tokens
from depthopt.errors import ModelError
from depthopt.extraction.coverage import reducible_share
from depthopt.extraction.extract import extract

MODELS = (
    "mobilenetv2_100,mobilenetv2_140,efficientnet_lite0,tf_efficientnet_lite0,mnasnet_100,"
    "fbnetc_100,mobilenetv3_large_100,efficientnet_b0,tf_efficientnetv2_s,resnet18,resnet34,"
    "resnet50,resnet101,resnet50d,resnetv2_50,resnext50_32x4d,seresnet50,regnety_008,vgg16_bn,"
    "darknet53,cspdarknet53,repvgg_a0,densenet121,inception_v3,dla34,hrnet_w18_small,vovnet39a,"
    "convnext_tiny,nfnet_f0"
)

TRANSFORMERS = (
    "vit_tiny_patch16_224,vit_base_patch32_clip_224,vit_base_patch16_siglip_224,"
    "vit_little_patch16_reg4_gap_256,vit_relpos_small_patch16_224,deit_tiny_patch16_224,"
    "deit_tiny_distilled_patch16_224,deit3_small_patch16_224,beit_base_patch16_224,"
    "eva02_tiny_patch14_224,vit_small_patch14_dinov2,vit_small_patch16_dinov3,cait_xxs24_224,"
    "mixer_s16_224,xcit_nano_12_p16_224,swin_tiny_patch4_window7_224,vit_tiny_r_s16_p8_224,"
    "coat_tiny,pit_ti_224,levit_128s,mobilevit_xxs,efficientformer_l1,convnext_tiny"
)
"""Networks with attention, or with linear layers between convolutions."""


def main() -> None:
    """Print the table."""
    formatter = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--transformers", action="store_true", help="those instead")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--every", type=Path, help="file of what is found in all of timm's models")
    options = parser.parse_args()
    if options.every:
        every(options.every)
        return
    models = TRANSFORMERS if options.transformers else options.models
    print("| model | blocks | skips | barriers | not used | mergeable | replaceable | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for pattern in models.split(","):
        for name in [pattern] if timm.is_model(pattern) else timm.list_models(pattern):
            model = timm.create_model(name)
            size = model.default_cfg["input_size"] if options.transformers else None
            begin = time.process_time()
            try:
                chain = extract(model, size or (3, options.size, options.size), name=name)
            except ModelError as refusal:
                print(f"| {name} | - | - | - | refused: {refusal} | - | - | - |", flush=True)
            else:
                print(row(chain, time.process_time() - begin), flush=True)


def every(path: Path) -> None:
    """All models: the share of each that can be replaced, or why it is refused."""
    found = json.loads(path.read_text()) if path.exists() else {"models": {}, "peak_gib": 0.0}
    names = timm.list_models()
    for i, name in enumerate(names, start=1):
        if name in found["models"]:
            continue
        found["models"][name] = of_model(name)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found["peak_gib"] = max(found["peak_gib"], peak)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{i}/{len(names)} {name}: {found['models'][name]}", flush=True)
    known = found["models"].values()
    shares = [model["share"] for model in known if "share" in model]
    middle, whole = statistics.median(shares), sum(share > 0.95 for share in shares)
    print(f"{len(shares)} of {len(known)} extracted; at most {found['peak_gib']:.1f} GiB")
    print(f"share that can be replaced: {middle:.1%} in the median, over 95% in {whole}")


def of_model(name: str) -> dict[str, float | str]:
    """What is found in one model, at 64x64 or at its own size."""
    begin, model, refused = time.process_time(), without_memory(name), ""
    channels, own, _ = model.pretrained_cfg.get("input_size", (3, 224, 224))
    for size in (64, own):
        try:
            chain = extract(model, (channels, size, size), name=name)
        except ModelError as refusal:
            refused = str(refusal)
        else:
            branches = sum(reads_tokens(block.operator) for block in chain.blocks)
            seconds = time.process_time() - begin
            share = reducible_share(chain)
            return {"share": share, "branches": branches, "size": size, "seconds": seconds}
    return {"refused": refused, "seconds": time.process_time() - begin}


def without_memory(name: str) -> nn.Module:
    """The model without memory for weights; with, where its construction computes on them."""
    try:
        with torch.device("meta"):
            return timm.create_model(name)
    except (NotImplementedError, RuntimeError):
        return timm.create_model(name)


def row(chain: Chain, seconds: float) -> str:
    """One line of the table."""
    barriers = Counter(kind(barrier.reason) for barrier in chain.barriers)
    unused = Counter(re.sub(r" \([^()]*\)$", "", unused.reason) for unused in chain.unused)
    return (
        f"| {chain.model} | {len(chain.blocks)} | {len(chain.skips)} | {listed(barriers)} | "
        f"{listed(unused)} | {reducible_share(chain, merging=True):.1%} | "
        f"{reducible_share(chain):.1%} | {seconds:.1f} |"
    )


def kind(reason: str) -> str:
    """A barrier's reason without the names that differ from one to the next."""
    also = "also read by " if reason.startswith("also read by ") else ""
    return also + re.sub(r" .*", "", reason.removeprefix(also))


def listed(counts: Counter[str]) -> str:
    """``2 mean, 1 MaxPool2d``; a dash for none."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "-"


if __name__ == "__main__":
    main()
