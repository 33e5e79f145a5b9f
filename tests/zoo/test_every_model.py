"""Every model of timm is extracted or refused with a reason: ``pytest -m nightly tests/zoo``."""

import pytest
import timm
import torch
from torch import nn

from depthopt.errors import ModelError
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates

SMALL = 64
"""Height and width that is tried before the model's own."""


def made(name: str) -> nn.Module:
    """The model without memory for weights; with, where its construction computes on them."""
    try:
        with torch.device("meta"):
            return timm.create_model(name)
    except (NotImplementedError, RuntimeError):
        return timm.create_model(name)


@pytest.mark.nightly
@pytest.mark.parametrize("name", timm.list_models())
def test_every_model_is_extracted_or_refused(name: str) -> None:
    model = made(name)
    channels, own, _ = model.pretrained_cfg.get("input_size", (3, 224, 224))
    reasons = []
    for size in (SMALL, own):
        try:
            chain = extract(model, (channels, size, size), name=name)
        except ModelError as refusal:
            reasons.append(str(refusal))
        else:
            assert chain.blocks
            assert all(unused.reason for unused in chain.unused)
            assert candidates(chain, kinds=("drop", "fit", "merge"), max_length=4)
            return
    assert all(reasons)
