"""The papers' estimator: kept blocks' own entries, its protocol in words, and going on from it."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from depthopt.core.candidate import Candidate
from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit
from depthopt.errors import TableError, UsageError
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.rewrite.inserted import inserted_in
from depthopt.tables.importance import ImportanceTable
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune
from tests.networks import Residual

SIZE = (2, 8, 8)
MODEL = Residual()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("merge",), fewer_macs=False, inserted="relu6")
KEPT = [c for c in ALL if not c.replaces]
INSERTED = next(c for c in ALL if c.activation and CHAIN.ending(c.start, c.end).activation is None)


def split(images: int, seed: int) -> TensorSplit:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(images, *SIZE, generator=generator)
    return TensorSplit(inputs, torch.randint(0, 3, (images,), generator=generator))


DATA = Dataset("random", ("a", "b", "c"), SIZE, split(16, 0), split(8, 1), split(4, 2))
HELD_OUT = [*DATA.calibration.batches(8)]
CONFIG = TrainConfig(
    steps=2, batch_size=8, optimizer="sgd", learning_rate=0.1, warmup=0.0, weight_decay=1e-5,
    clip_norm=None, label_smoothing=0.0, distillation=0.0, checkpoint_every_s=1e6,
)  # fmt: skip
SOME = [*KEPT[:2], INSERTED]
PAPERS = {
    "estimator": "finetune",
    "held_out": HELD_OUT,
    "form": "expanded",
    "start": "at_once",
    "keep": True,
    "protocol": "2 steps of 8, scored on 8, reduced",
}


def short(network):
    return finetune(network, DATA, config=CONFIG)


def table_of(found: list[Candidate], **changed) -> ImportanceTable:
    return estimate(MODEL, CHAIN, found, **{"train": short} | PAPERS | changed)


@cache
def untrained() -> ImportanceTable:
    return table_of(SOME[:2], train=lambda _: None)


def parameters(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def seen_by_training(candidate: Candidate, **changed) -> dict[str, torch.Tensor]:
    """A network's state where its short training begins."""
    found = {}
    table_of([candidate], train=lambda network: found.update(parameters(network)), **changed)
    return found


def test_stopped_and_gone_on_from_is_as_at_once_bit_for_bit() -> None:
    """Each candidate's training is seeded alike, wherever it stands in the row."""
    updates: list[ImportanceTable] = []
    whole = table_of(SOME, on_update=updates.append)
    torch.manual_seed(99)
    torch.rand(7)
    gone_on = table_of(SOME[::-1], table=updates[0])
    assert replace(gone_on, entries={c: gone_on.entries[c] for c in SOME}) == whole
    assert [*gone_on.entries] == SOME[::-1]
    assert whole.entries[KEPT[0]] != whole.entries[KEPT[1]]


def test_a_kept_block_is_trained_from_a_layer_initialised_anew() -> None:
    """Its convolution and norm alone, whose mean and variance are forgotten too."""
    first = parameters(MODEL)
    now = seen_by_training(KEPT[1])
    block = CHAIN.blocks[1].name
    norm = block.replace(".0", ".1")
    changed = {name for name in first if not torch.equal(first[name], now[name])}
    own = {f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert changed - {f"{norm}.num_batches_tracked"} == {f"{block}.weight"} | own
    assert torch.equal(now[f"{norm}.running_var"], torch.ones(4))
    assert torch.equal(now[f"{norm}.weight"], torch.ones(4))
    fan_in = 4 * 3 * 3
    assert now[f"{block}.weight"].abs().max() <= fan_in**-0.5, "as torch draws them"
    again, other = seen_by_training(KEPT[1]), seen_by_training(KEPT[1], seed=1)
    assert torch.equal(again[f"{block}.weight"], now[f"{block}.weight"])
    assert not torch.equal(other[f"{block}.weight"], now[f"{block}.weight"])


def test_a_replaced_segments_other_layers_are_the_originals() -> None:
    now = seen_by_training(INSERTED)
    kept = {name for name in parameters(MODEL) if name in now}
    assert kept
    assert all(torch.equal(parameters(MODEL)[name], now[name]) for name in kept)


def test_kept_blocks_have_entries_only_where_they_are_asked_for() -> None:
    assert set(table_of(SOME, keep=False, train=lambda _: None).entries) == {
        c for c in SOME if c.replaces
    }
    with pytest.raises(UsageError, match="only with estimator finetune, not with magnitude"):
        estimate(MODEL, CHAIN, SOME, estimator="magnitude", keep=True)


@pytest.mark.parametrize(("start", "share"), [("at_once", 1.0), ("annealed", 0.0)])
def test_inserted_activations_are_there_at_once_or_come_in(start: str, share: float) -> None:
    begun = []

    def train(network):
        begun.extend(float(module.share) for module in inserted_in(network).values())

    table_of([INSERTED], train=train, start=start)
    assert begun == [share]


def test_the_table_says_its_protocol_unit_and_form() -> None:
    table = untrained()
    assert (table.protocol, table.unit, table.form) == (PAPERS["protocol"], "points", "expanded")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"protocol": "8 steps of 32"}, "of protocol '8 steps of 32', expected '2 steps of 8,"),
        ({"unit": "fraction"}, "of unit 'fraction', expected 'points'"),
        ({"form": "fused"}, "of form 'fused', expected 'expanded'"),
    ],
)
def test_a_table_of_another_protocol_unit_or_form_is_not_gone_on_from(said, message) -> None:
    other = replace(untrained(), **said)
    with pytest.raises(TableError, match=message) as refused:
        table_of(SOME[:2], table=other)
    assert "\n" not in str(refused.value)


def test_a_table_of_an_earlier_version_is_gone_on_from() -> None:
    table = untrained()
    older = replace(table, protocol="", unit="", form="")
    assert table_of(SOME[:2], table=older) == table
