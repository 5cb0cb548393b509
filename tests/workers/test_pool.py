from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.engine.options import EngineOptions
from workers.engine_child import EngineChild
from workers.pool import EnginePool


@pytest.fixture
def first() -> EngineChild:
    return EngineChild(EngineOptions("vulkan:0"))


@pytest.fixture
def second() -> EngineChild:
    return EngineChild(EngineOptions("vulkan:1"))


@pytest.fixture
def pool(first: EngineChild, second: EngineChild) -> EnginePool:
    return EnginePool([first, second])


def test_engine_is_acquired_by_one_thread_at_a_time(
    pool: EnginePool, first: EngineChild, second: EngineChild
) -> None:
    assert {pool.acquire(1), pool.acquire(2)} == {first, second}

    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(pool.acquire, 3)
        assert not waiting.done()
        pool.release(first)
        assert waiting.result(timeout=60) is first


def test_lost_image_waits_for_another_engine(
    pool: EnginePool, first: EngineChild, second: EngineChild
) -> None:
    assert (pool.acquire(7), pool.acquire(8)) == (first, second)
    pool.record_lost(first, 7)
    pool.release(first)

    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(pool.acquire, 7)
        assert pool.acquire(9) is first
        pool.release(first)
        assert not waiting.done()
        pool.release(second)
        assert waiting.result(timeout=60) is second


def test_wait_for_another_engine_is_limited(
    pool: EnginePool, first: EngineChild, second: EngineChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.pool.OTHER_ENGINE_SECONDS", 0.1)
    assert (pool.acquire(7), pool.acquire(8)) == (first, second)
    pool.record_lost(first, 7)
    pool.release(first)

    assert pool.acquire(7) is first


def test_image_lost_on_every_engine_gets_any_engine(pool: EnginePool, first: EngineChild) -> None:
    for _ in range(2):
        engine = pool.acquire(7)
        pool.record_lost(engine, 7)
        pool.release(engine)

    assert pool.acquire(7) is first


def test_removed_engine_is_not_acquired(pool: EnginePool, first: EngineChild, second: EngineChild) -> None:
    assert pool.acquire(1) is first
    assert pool.remove(first)
    pool.release(first)

    for image_id in (2, 3):
        engine = pool.acquire(image_id)
        assert engine is second
        pool.release(engine)


# A thread that waits for a removed engine would never continue.
def test_image_does_not_wait_for_a_removed_engine(
    pool: EnginePool, first: EngineChild, second: EngineChild
) -> None:
    assert (pool.acquire(7), pool.acquire(8)) == (first, second)
    pool.record_lost(first, 7)
    pool.release(first)

    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(pool.acquire, 7)
        assert pool.remove(second)
        assert waiting.result(timeout=60) is first


def test_reserve_replaces_the_last_engine(first: EngineChild, second: EngineChild) -> None:
    pool = EnginePool([first], reserve=second)
    assert pool.acquire(1) is first

    assert pool.remove(first)
    pool.release(first)

    assert pool.acquire(1) is second
    assert not pool.remove(second)


def test_last_engine_is_never_removed(pool: EnginePool, first: EngineChild, second: EngineChild) -> None:
    assert pool.remove(second)

    assert not pool.remove(first)
    assert pool.acquire(1) is first
