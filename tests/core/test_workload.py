"""Work added up: what is done one after the other takes the time of both, the memory of one."""

from depthopt.core.workload import Workload

LIGHT = Workload(forward_images=3, macs64=10, memory_bytes=100)
HEAVY = Workload(trained_images=2, clock_s=0.5, memory_bytes=70, kept_images=4)


def test_works_add_up_and_share_their_memory() -> None:
    both = Workload(3, 2, 10, 0.5, memory_bytes=100, kept_images=4)
    assert LIGHT + HEAVY == HEAVY + LIGHT == both
    assert LIGHT + Workload() == LIGHT


def test_the_same_work_again_needs_no_more_memory() -> None:
    assert LIGHT * 3 == LIGHT + LIGHT + LIGHT == Workload(9, 0, 30, memory_bytes=100)
    assert Workload() == LIGHT * 0
