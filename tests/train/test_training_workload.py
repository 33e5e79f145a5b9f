"""What a training says that it takes, against what it does."""

from dataclasses import replace

import pytest
from timm.optim._optim_factory import create_optimizer_v2

from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune, training_workload
from tests.train.training import CONFIG, make_data, make_model, plain_model


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("changes", [{}, {"steps": 6}, {"batch_size": 32, "accumulation": 3}])
def test_it_trains_on_as_many_images_as_it_says(changes, distilled):
    seen = []
    model, data, config = plain_model(), make_data(), replace(CONFIG, **changes)
    model.register_forward_pre_hook(lambda network, args: seen.append((network, len(args[0]))))
    teacher = make_model() if distilled else None
    finetune(model, data, teacher=teacher, config=config)
    said = training_workload(config, images=len(data.train), parameters=10, distilled=distilled)
    trained = [images for network, images in seen if network is model]
    assert sum(trained) == said.trained_images
    assert max(trained) == said.kept_images
    assert said.forward_images == (said.trained_images if distilled else 0)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_holds_the_moments_of_its_optimizer(optimizer):
    model = make_model()
    steps = create_optimizer_v2(model, opt=optimizer, lr=0.1, momentum=0.9)
    model(next(make_data().train.batches(4))[0]).sum().backward()
    steps.step()
    moments = sum(
        value.numel() for state in steps.state.values() for value in state.values() if value.ndim
    )
    weights = sum(p.numel() for p in model.parameters())
    config = TrainConfig(optimizer=optimizer)
    said = training_workload(config, images=100, parameters=weights, distilled=False)
    assert said.memory_bytes == 4 * (2 * weights + moments)


def test_an_average_and_a_teacher_are_held_too():
    plain = training_workload(TrainConfig(), images=100, parameters=10, distilled=False)
    averaged = TrainConfig(ema_decay=0.9)
    with_both = training_workload(averaged, images=100, parameters=10, distilled=True)
    assert with_both.memory_bytes == plain.memory_bytes + 2 * 4 * 10
