"""A circuit breaker by a clock that is told the time."""

from services.kit.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_five_failures_in_ten_seconds_open_it_and_one_probe_closes_it_again():
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(4):
        breaker.failed()
    assert breaker.lets_pass()
    breaker.failed()
    assert not breaker.lets_pass()
    clock.now += 3.1
    assert [breaker.lets_pass(), breaker.lets_pass()] == [True, False], "one probe at a time"
    breaker.failed()
    assert not breaker.lets_pass()
    clock.now += 3.1
    assert breaker.lets_pass()
    breaker.answered()
    assert breaker.lets_pass() and not breaker.is_open


def test_failures_far_apart_do_not_open_it():
    clock = Clock()
    breaker = Breaker(clock=clock)
    for _ in range(20):
        breaker.failed()
        clock.now += 4.0
    assert breaker.lets_pass()
