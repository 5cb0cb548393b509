from __future__ import annotations

import threading
import time

import pytest

from domain import background
from domain.background import BackgroundTasks, run_now
from domain.errors import Unavailable


def test_task_runs_on_another_thread_without_blocking() -> None:
    done, released = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def task() -> None:
        assert released.wait(10)
        threads.append(threading.current_thread())
        done.set()

    BackgroundTasks()(task)
    released.set()  # only reached because the call above did not wait

    assert done.wait(10)
    assert threads != [threading.current_thread()]


# The request is finished by then, so its duration reveals nothing.
def test_task_starts_after_a_delay() -> None:
    started: list[float] = []
    done = threading.Event()

    def task() -> None:
        started.append(time.monotonic())
        done.set()

    submitted = time.monotonic()
    BackgroundTasks()(task)

    assert done.wait(10)
    assert started[0] - submitted >= background._DELAY_SECONDS


@pytest.mark.parametrize("error", [Unavailable, RuntimeError])
def test_failed_task_is_logged_and_the_next_one_runs(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise error("The server is down.")

    run_now(fail)
    assert "The server is down." in caplog.text

    tasks = BackgroundTasks()
    for _ in range(background._THREADS):
        tasks(fail)
    tasks(done.set)
    assert done.wait(10)


def test_task_over_the_waiting_limit_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_MAX_WAITING", 2)
    released, done = threading.Event(), threading.Semaphore(0)

    def task() -> None:
        released.wait(10)
        done.release()

    tasks = BackgroundTasks()
    for _ in range(3):
        tasks(task)
    assert "background_task_dropped reason=too_many_waiting waiting=2" in caplog.text

    released.set()
    assert done.acquire(timeout=10)
    assert done.acquire(timeout=10)
    assert not done.acquire(blocking=False)


def test_finished_task_frees_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_MAX_WAITING", 1)
    monkeypatch.setattr(background, "_DELAY_SECONDS", 0.0)
    tasks = BackgroundTasks()
    for _ in range(5):
        done = threading.Event()
        deadline = time.monotonic() + 10
        # The place is freed shortly after the task has set the event.
        while not done.is_set() and time.monotonic() < deadline:
            tasks(done.set)
            done.wait(0.01)
        assert done.is_set()


def test_close_waits_for_submitted_tasks(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    tasks = BackgroundTasks()
    for number in range(3 * background._THREADS):
        tasks(lambda number=number: done.append(number))  # type: ignore[misc]

    tasks.close(10)

    assert sorted(done) == list(range(3 * background._THREADS))
    assert caplog.text == ""


def test_close_drops_and_counts_tasks_after_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    done: list[None] = []
    released, started = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        started.release()
        released.wait(10)

    tasks = BackgroundTasks()
    for _ in range(background._THREADS):
        tasks(hang)
    tasks(lambda: done.append(None))
    for _ in range(background._THREADS):
        assert started.acquire(timeout=10)

    tasks.close(0)
    released.set()
    tasks._pool.shutdown(wait=True)

    assert f"background_tasks_dropped reason=shutdown count={background._THREADS + 1}" in caplog.text
    assert done == []  # a dropped task never runs, so the log line is correct


def test_task_after_close_is_dropped_without_an_error(caplog: pytest.LogCaptureFixture) -> None:
    tasks = BackgroundTasks()
    tasks.close(0)

    tasks(lambda: None)

    assert "background_task_dropped reason='cannot schedule new futures after shutdown'" in caplog.text


# The port promises never to raise: the account exists, and its owner must get a success response.
def test_failed_thread_start_is_logged_and_frees_the_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_MAX_WAITING", 2)
    tasks = BackgroundTasks()

    def cannot_start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", cannot_start)
        for _ in range(3):
            tasks(lambda: None)
    assert caplog.text.count('background_task_dropped reason="can\'t start new thread"') == 3

    done = threading.Event()
    tasks(done.set)
    assert done.wait(10)
