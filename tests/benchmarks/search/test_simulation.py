import pytest

from tests.benchmarks.search.simulation import Simulation


def test_processes_go_on_by_their_times_and_at_one_time_in_the_order_of_asking() -> None:
    simulation, log = Simulation(), list[tuple[float, str]]()

    def walk(name: str, *naps: float) -> None:
        for nap in naps:
            simulation.sleep(nap)
            log.append((simulation.now, name))

    simulation.spawn(lambda: walk("a", 3, 2))
    simulation.spawn(lambda: walk("b", 1, 2, 4))
    simulation.run()
    assert log == [(1, "b"), (3, "a"), (3, "b"), (5, "a"), (7, "b")]


def test_one_that_waits_looks_again_after_a_change_and_not_before() -> None:
    simulation, log, done = Simulation(), list[float](), list[int]()

    def work() -> None:
        simulation.sleep(10)
        done.append(1)
        simulation.changed()
        simulation.sleep(100)

    def wait() -> None:
        while not done:
            log.append(simulation.now)
            simulation.wait(2)
        log.append(simulation.now)

    simulation.spawn(wait)
    simulation.spawn(work)
    simulation.run()
    assert log == [0, 12]
    assert simulation.now == 110


def test_processes_that_all_wait_for_one_another_are_found_out() -> None:
    simulation = Simulation()

    def wait() -> None:
        while True:
            simulation.wait(1)

    simulation.spawn(wait)
    with pytest.raises(RuntimeError, match="1 processes wait"):
        simulation.run()


def test_what_a_process_raises_ends_the_simulation() -> None:
    simulation = Simulation()
    simulation.spawn(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        simulation.run()
