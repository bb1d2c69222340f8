"""Threads that share the work."""

import threading

import pytest
from threadpoolctl import threadpool_info

from tinyvit.errors import InputError
from tinyvit.training.workers import Workers, available_cores, split


@pytest.mark.parametrize("count", [1, 2, 7, 12])
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 20])
def test_split_covers_all_items_evenly_with_no_part_empty(count, parts):
    slices = split(count, parts)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(count))
    lengths = [part.stop - part.start for part in slices]
    assert len(lengths) == min(count, parts) and min(lengths) >= 1 and max(lengths) - min(lengths) <= 1


def test_results_come_in_the_order_of_the_items():
    with Workers(3) as workers:
        assert workers.map(lambda a, b: a * b, range(50), range(50)) == [i * i for i in range(50)]


def test_tasks_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)
    with Workers(2) as workers:
        workers.map(lambda _: meeting.wait(), range(2))  # one after the other, the first would wait for ever


def test_an_error_in_a_task_is_raised():
    with Workers(2) as workers, pytest.raises(ZeroDivisionError):
        workers.map(lambda x: 1 / x, [1, 0])


def test_blas_is_limited_within_and_free_after():
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads()
    with Workers(2):
        assert set(threads()) <= {1}
    assert threads() == before


@pytest.mark.parametrize("count", [0, -1])
def test_no_workers_are_refused(count):
    with pytest.raises(InputError, match=f"{count} workers"):
        Workers(count)


def test_there_is_a_core():
    assert available_cores() >= 1
