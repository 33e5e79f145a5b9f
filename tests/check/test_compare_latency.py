"""The way from two networks to a verdict: suspicion, confirmation, and both clocks."""

from pathlib import Path

import numpy as np
import pytest

from depthopt.check.latency import compare_latency
from depthopt.check.sampling import Clocks
from depthopt.runtimes.registry import get_runtime


class Session:
    def __init__(self, runtime, seconds, waiting):
        self.runtime, self.seconds, self.waiting = runtime, seconds, waiting
        self.input_shapes, self.input_dtypes = {"x": (1,)}, {"x": "float32"}

    def run(self, _):
        noise = 1 + self.runtime.noise * self.runtime.generator.standard_normal()
        self.runtime.used += self.seconds * noise
        self.runtime.now += self.seconds * noise + self.waiting
        return [np.zeros(1)]


class Simulated:
    """A runtime whose networks take as long as their names say, per session."""

    def __init__(self, noise=0.002, sessions=0.0):
        self.noise, self.sessions = noise, sessions
        self.generator = np.random.default_rng(0)
        self.now = self.used = 0.0
        self.times = {}
        self.waits = {}

    def conditions(self, batch):
        return get_runtime("onnxruntime").conditions(batch)

    def compile(self, model):
        seconds = self.times[str(model)]
        seconds = seconds.pop(0) if isinstance(seconds, list) else seconds
        offset = 1 + self.sessions * self.generator.standard_normal()
        return Session(self, seconds * offset, self.waits.get(str(model), 0.0))

    def clocks(self, *, processor=True):
        return Clocks(lambda: self.now, (lambda: self.used) if processor else None)

    def compare(self, current, *, processor=True, **options):
        self.times |= {"old": 0.01, "new": current}
        return compare_latency(
            Path("old"), Path("new"), runtime=self, clocks=self.clocks(processor=processor),
            seconds=4.0, **options,
        )  # fmt: skip


@pytest.mark.parametrize("processor", [True, False])
def test_equal_networks_pass_at_the_first_measurement(processor):
    verdict, change = Simulated().compare(0.01, processor=processor)
    assert verdict.outcome == "pass"
    assert change.measured == 1
    assert abs(change.change.estimate) < 0.01
    assert not change.change.low > 0.01
    assert change.clock == ("processor" if processor else "wall")


def test_a_slower_network_is_measured_twice_and_called():
    verdict, change = Simulated().compare(0.0108)
    assert verdict.outcome == "regression"
    assert change.measured == 2
    assert change.moved
    assert change.change.estimate == pytest.approx(0.08, abs=0.01)
    assert change.current.median_ms == pytest.approx(10.8, rel=0.01)


def test_a_regression_that_does_not_come_again_is_not_called():
    slow_then_fast = [0.0108] * 6 + [0.01] * 40
    verdict, change = Simulated().compare(slow_then_fast)
    assert change.measured == 2
    assert verdict.outcome != "regression"


def test_a_noisy_machine_is_inconclusive_and_never_passes():
    verdict, change = Simulated(noise=0.02, sessions=0.3).compare(0.01)
    assert verdict.outcome == "inconclusive"
    assert "idle machine" in verdict.reason
    assert change is not None


def test_a_network_that_waits_does_not_pass_by_its_processor_time():
    runtime = Simulated()
    runtime.waits["new"] = 0.002
    verdict, change = runtime.compare(0.01)
    assert verdict.outcome == "inconclusive"
    assert "waits" in verdict.reason
    assert change.by_the_clock.estimate == pytest.approx(0.2, abs=0.02)


def test_other_processes_are_seen_and_do_not_count():
    runtime = Simulated()
    runtime.waits |= {"old": 0.01, "new": 0.01}
    verdict, change = runtime.compare(0.0108)
    assert verdict.outcome == "regression"
    assert change.busy == pytest.approx(0.5, abs=0.02)
    assert change.by_the_clock.estimate == pytest.approx(0.04, abs=0.01)


def test_a_clock_that_goes_backwards_is_inconclusive():
    runtime = Simulated()
    runtime.waits["new"] = -1.0
    verdict, change = runtime.compare(0.01)
    assert verdict.outcome == "inconclusive"
    assert "clock" in verdict.reason
    assert change is None
