from functools import cache

import pytest
import torch

from depthopt.data.dataset import Repeated
from depthopt.errors import DataError, TableError, UsageError
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.tables.importance import ImportanceTable
from tests.networks import Residual
from tests.plans import plan_of

SIZE = (2, 8, 8)
MODEL = Residual()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("drop", "fit", "merge"), fewer_macs=False)
torch.manual_seed(0)
FITTING = [torch.randn(16, *SIZE) for _ in range(5)]
HELD_OUT = [(torch.randn(16, *SIZE), torch.randint(0, 3, (16,))) for _ in range(2)]


@cache
def table_of_all() -> ImportanceTable:
    return estimate(MODEL, CHAIN, ALL, fitting=FITTING, held_out=HELD_OUT)


@cache
def composed() -> ImportanceTable:
    return estimate(
        MODEL,
        CHAIN,
        [c for c in ALL if c.kind in ("drop", "merge")],
        fitting=FITTING,
        held_out=HELD_OUT,
        form="expanded",
    )


def test_every_candidate_but_keep_is_scored() -> None:
    assert set(table_of_all().entries) == {c for c in ALL if c.kind != "keep"}
    assert table_of_all().images == 32
    assert all(entry.divergence >= -1e-12 for entry in table_of_all().entries.values())


def test_a_cost_is_the_divergence_and_thrice_what_the_loss_on_labels_rises_by() -> None:
    rises = [entry.loss_increase > 0 for entry in table_of_all().entries.values()]
    assert any(rises)
    assert not all(rises)
    for entry in table_of_all().entries.values():
        rise = entry.loss_increase if entry.loss_increase > 0 else 0
        assert entry.cost == pytest.approx(entry.divergence + 3 * rise, rel=1e-12)


@pytest.mark.parametrize("kind", ["drop", "merge"])
@torch.no_grad()
def test_a_score_is_that_of_the_applied_candidate(kind: str) -> None:
    """Scores come from partial runs; the whole network with the candidate in place agrees."""
    teacher = torch.cat([MODEL(x) for x, _ in HELD_OUT]).log_softmax(1)
    labels = torch.cat([y for _, y in HELD_OUT])
    for candidate in (c for c in ALL if c.kind == kind):
        network = apply(MODEL, CHAIN, plan_of(CHAIN, candidate))
        logits = torch.cat([network(x) for x, _ in HELD_OUT]).log_softmax(1)
        entry = composed().entries[candidate]
        divergence = (teacher.exp() * (teacher - logits)).sum(1).mean()
        assert entry.divergence == pytest.approx(float(divergence), rel=1e-3, abs=1e-6)
        loss = torch.nn.functional.nll_loss
        change = float(loss(logits, labels) - loss(teacher, labels))
        assert entry.loss_increase == pytest.approx(change, rel=1e-3, abs=1e-5)


def test_what_is_merged_into_one_convolution_is_regressed_from_there() -> None:
    merges = [c for c in ALL if c.kind == "merge"]
    apart = sum(composed().entries[merge].cost for merge in merges)
    assert sum(table_of_all().entries[merge].cost for merge in merges) < 0.8 * apart


def test_a_larger_kernel_costs_no_more() -> None:
    cost = {c.convolution.kernel_size: table_of_all().entries[c].cost
            for c in ALL if c.kind == "fit" and (c.start, c.end) == (1, 3)
            and c.convolution.groups == 1}  # fmt: skip
    assert cost[3, 3] < cost[1, 1]


def test_memory_bound_and_batches_do_not_change_the_table() -> None:
    small = estimate(MODEL, CHAIN, ALL, fitting=FITTING, held_out=HELD_OUT, memory_bytes=1)
    for key, entry in table_of_all().entries.items():
        assert small.entries[key].cost == pytest.approx(entry.cost, rel=1e-4, abs=1e-7)


def test_magnitude_needs_no_data_and_charges_what_goes() -> None:
    table = estimate(MODEL, CHAIN, ALL, estimator="magnitude")
    whole = max(table.entries.values(), key=lambda entry: entry.cost)
    assert min(entry.cost for entry in table.entries.values()) >= 0
    assert whole.cost <= 1
    merges = [c for c in ALL if c.kind == "merge"]
    assert all(table.entries[c].cost == 0 for c in merges), "no weight goes"


def test_unusable_data_is_refused() -> None:
    with pytest.raises(DataError, match="got 0 and 2 batches"):
        estimate(MODEL, CHAIN, ALL, held_out=HELD_OUT)
    wrong = [(HELD_OUT[0][0], torch.full((16,), 7))]
    with pytest.raises(DataError, match="labels from 7 to 7"):
        estimate(MODEL, CHAIN, ALL, fitting=FITTING, held_out=wrong)
    with pytest.raises(DataError, match="NaN or infinite values on calibration images"):
        estimate(MODEL, CHAIN, ALL, fitting=[FITTING[0] * torch.nan], held_out=HELD_OUT)
    with pytest.raises(UsageError, match="'entropy' is unknown"):
        estimate(MODEL, CHAIN, ALL, estimator="entropy")


def test_labels_are_not_needed() -> None:
    unlabelled = [(x, None) for x, _ in HELD_OUT]
    table = estimate(MODEL, CHAIN, ALL, fitting=FITTING, held_out=unlabelled)
    for key, entry in table_of_all().entries.items():
        assert table.entries[key].cost == table.entries[key].divergence == entry.divergence
        assert table.entries[key].metric_change is None
        assert table.entries[key].loss_increase is None
    with pytest.raises(DataError, match="16 of 32 held-out images have labels"):
        estimate(MODEL, CHAIN, ALL, fitting=FITTING, held_out=[HELD_OUT[0], unlabelled[1]])


def test_too_few_images_are_named(caplog: pytest.LogCaptureFixture) -> None:
    chain = extract(MODEL, (2, 2, 2))
    found = candidates(chain, kinds=("fit",), fewer_macs=False)
    held_out = [(x[:, :, :2, :2], y) for x, y in HELD_OUT]
    few = [FITTING[0][:1, :, :2, :2]]
    for fitting, warned in ((few, True), ([x[:, :, :2, :2] for x in FITTING] * 4, False)):
        caplog.clear()
        estimate(MODEL, chain, found, fitting=fitting, held_out=held_out)
        warnings = [r for r in caplog.records if r.name.startswith("depthopt")]
        assert any("weights per output" in r.getMessage() for r in warnings) == warned


def brief(network: torch.nn.Module) -> None:
    """A training that leaves its mark: the head's bias moves by one step."""
    loss = torch.nn.functional.cross_entropy(network(FITTING[0]), HELD_OUT[0][1])
    loss.backward()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)


SOME = [c for c in ALL if c.kind == "drop"] + [c for c in ALL if c.kind == "fit"][:2]


@torch.no_grad()
def test_finetune_scores_the_trained_network_with_one_candidate_in_place() -> None:
    options = {"estimator": "finetune", "fitting": FITTING, "held_out": HELD_OUT}
    with torch.enable_grad():
        table = estimate(MODEL, CHAIN, SOME, train=brief, **options)
    assert set(table.entries) == set(SOME)
    labels = torch.cat([y for _, y in HELD_OUT])

    def accuracy(network):
        predicted = torch.cat([network(x) for x, _ in HELD_OUT]).argmax(1)
        return 100 * float((predicted == labels).float().mean())

    for candidate in SOME:
        network = apply(MODEL, CHAIN, plan_of(CHAIN, candidate), fitting=FITTING, compensated=False)
        with torch.enable_grad():
            brief(network)
        entry = table.entries[candidate]
        change = accuracy(network) - accuracy(MODEL)
        assert entry.metric_change == pytest.approx(change)
        assert entry.cost == pytest.approx(max(0.0, -change / 100))


def test_finetune_goes_on_from_the_entries_that_are_known() -> None:
    trained, updates = [], []

    def train(network):
        trained.append(network)
        brief(network)

    options = {"estimator": "finetune", "fitting": FITTING, "held_out": HELD_OUT, "train": train}
    whole = estimate(MODEL, CHAIN, SOME, on_update=updates.append, **options)
    assert [len(table.entries) for table in updates] == list(range(1, len(SOME) + 1))
    trained.clear()
    assert estimate(MODEL, CHAIN, SOME, table=updates[1], **options) == whole
    assert len(trained) == len(SOME) - 2
    with pytest.raises(TableError, match=r"by regression on 32 images, .* Residual by finetune"):
        estimate(MODEL, CHAIN, SOME, table=table_of_all(), **options)


def test_finetune_needs_a_training_and_images() -> None:
    with pytest.raises(UsageError, match="give train="):
        estimate(MODEL, CHAIN, SOME, estimator="finetune", held_out=HELD_OUT)
    with pytest.raises(DataError, match="needs held-out images"):
        estimate(MODEL, CHAIN, SOME, estimator="finetune", train=brief)


def test_images_may_come_anew_for_every_pass() -> None:
    streamed = estimate(
        MODEL,
        CHAIN,
        ALL,
        fitting=Repeated(lambda: iter(FITTING), len(FITTING)),
        held_out=Repeated(lambda: iter(HELD_OUT), len(HELD_OUT)),
    )
    assert streamed == table_of_all()
