"""Rounds, blocks and clocks, on a clock that the test moves."""

from functools import partial

import numpy as np
import pytest

from depthopt.check.sampling import (
    BASELINE,
    CONTROL,
    CURRENT,
    MIN_ROUNDS,
    ClockFault,
    Clocks,
    advancing,
    clocks_for,
    sample,
)


class Machine:
    """A clock, and networks that take so long by it."""

    def __init__(self):
        self.now = 0.0
        self.ran = []
        self.opened = []

    def opener(self, name, seconds, compiling=0.001):
        def opened():
            self.opened.append(name)
            self.now += compiling

            def run():
                self.ran.append(name)
                self.now += seconds

            return run

        return opened

    def measure(self, times, *, seconds=1.0, settled=lambda _: True, compiling=0.001):
        openers = {name: self.opener(name, s, compiling) for name, s in times.items()}
        clocks = Clocks(wall=lambda: self.now)
        return sample(openers, seconds=seconds, settled=settled, clocks=clocks)


TIMES = {BASELINE: 0.004, CONTROL: 0.004, CURRENT: 0.005}


def test_ratios_are_those_of_the_networks():
    samples = Machine().measure(TIMES)
    for name, ratio in ((CURRENT, 1.25), (CONTROL, 1.0)):
        found = np.exp(samples.log_ratios(name, processor=False))
        np.testing.assert_allclose(found, ratio)
    assert samples.processor_ms == {}
    np.testing.assert_allclose(samples.wall_ms[BASELINE], 4.0)


def test_every_round_has_fresh_sessions_of_all_three():
    machine = Machine()
    samples = machine.measure(TIMES)
    assert samples.rounds == MIN_ROUNDS
    assert sorted(machine.opened) == sorted(list(TIMES) * MIN_ROUNDS)


def test_a_drift_over_a_block_hits_all_alike():
    machine = Machine()

    def slowing(seconds):
        machine.now += seconds * (1 + machine.now)

    openers = {name: partial(partial, slowing, s) for name, s in TIMES.items()}
    clocks = Clocks(wall=lambda: machine.now)
    samples = sample(openers, seconds=1.0, settled=lambda _: True, clocks=clocks)
    found = np.exp(samples.log_ratios(CURRENT, processor=False))
    np.testing.assert_allclose(np.median(found), 1.25, rtol=5e-3)


def test_it_goes_on_until_settled_or_out_of_time():
    once = Machine().measure(TIMES, settled=lambda s: s.rounds >= 8, seconds=1e3)
    assert once.rounds == 8
    machine = Machine()
    machine.measure(TIMES, settled=lambda _: False, seconds=6.0)
    assert 6.0 <= machine.now < 9.0


def test_slow_compilers_are_asked_less_often():
    machine = Machine()
    samples = machine.measure(TIMES, settled=lambda s: s.rounds >= 20, seconds=100, compiling=3.0)
    assert samples.rounds == 20
    assert len(machine.opened) < 20 * 3


def test_slow_networks_get_their_rounds():
    times = {name: 1000 * seconds for name, seconds in TIMES.items()}
    assert Machine().measure(times, settled=lambda _: False).rounds == MIN_ROUNDS


@pytest.mark.parametrize("step", [0.0, -1.0])
def test_a_clock_that_does_not_advance_is_a_fault(step):
    machine = Machine()
    times = TIMES | {CURRENT: step}
    with pytest.raises(ClockFault, match="must advance"):
        machine.measure(times)


def test_a_clock_that_goes_back_between_two_readings_is_a_fault():
    readings = iter([1.0, 1.0, 2.0, 1.5])
    clock = advancing(lambda: next(readings))
    assert [clock(), clock(), clock()] == [1.0, 1.0, 2.0]
    with pytest.raises(ClockFault, match=r"went back from 2\.0 to 1\.5 s"):
        clock()


def test_processor_time_is_read_where_one_thread_computes():
    assert clocks_for(1).processor is not None
    assert clocks_for(4).processor is None
    assert clocks_for(0).processor is None


def test_two_measurements_make_one():
    one, two = Machine().measure(TIMES), Machine().measure(TIMES)
    both = one.with_more(two)
    assert both.rounds == 2 * MIN_ROUNDS
    assert both.log_ratios(CURRENT, processor=False).shape[0] == 2 * MIN_ROUNDS
