from __future__ import annotations

import threading
import time

import pytest

from domain import background
from domain.background import BackgroundTasks, run_now
from domain.errors import Unavailable


def test_work_is_done_on_another_thread_and_nobody_waits_for_it() -> None:
    done, released = threading.Event(), threading.Event()
    seen: list[threading.Thread] = []

    def work() -> None:
        assert released.wait(10)
        seen.append(threading.current_thread())
        done.set()

    BackgroundTasks()(work)
    released.set()  # only reached because the call above did not wait

    assert done.wait(10)
    assert seen != [threading.current_thread()]


# The request whose answer must tell nothing is over by then.
def test_work_does_not_begin_with_the_request_that_asked_for_it() -> None:
    begun: list[float] = []
    done = threading.Event()

    def work() -> None:
        begun.append(time.monotonic())
        done.set()

    asked = time.monotonic()
    BackgroundTasks()(work)

    assert done.wait(10)
    assert begun[0] - asked >= background._AFTER_SECONDS


@pytest.mark.parametrize("error", [Unavailable, RuntimeError])
def test_what_fails_is_logged_and_the_next_is_done(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise error("The server is down.")

    run_now(fail)
    assert "The server is down." in caplog.text

    afterwards = BackgroundTasks()
    for _ in range(background._THREADS):
        afterwards(fail)
    afterwards(done.set)
    assert done.wait(10)


def test_no_more_waits_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_MOST_WAITING", 2)
    released, done = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        released.wait(10)
        done.release()

    afterwards = BackgroundTasks()
    for _ in range(3):
        afterwards(work)
    assert "A mail is not sent: 2 wait already." in caplog.text

    released.set()
    assert done.acquire(timeout=10)
    assert done.acquire(timeout=10)
    assert not done.acquire(blocking=False)


def test_room_is_made_by_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_MOST_WAITING", 1)
    monkeypatch.setattr(background, "_AFTER_SECONDS", 0.0)
    afterwards = BackgroundTasks()
    for _ in range(5):
        done = threading.Event()
        deadline = time.monotonic() + 10
        # Room is made a moment after the work is done.
        while not done.is_set() and time.monotonic() < deadline:
            afterwards(done.set)
            done.wait(0.01)
        assert done.is_set()


def test_closing_waits_for_what_was_left(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    afterwards = BackgroundTasks()
    for number in range(3 * background._THREADS):
        afterwards(lambda number=number: done.append(number))  # type: ignore[misc]

    afterwards.close(10)

    assert sorted(done) == list(range(3 * background._THREADS))
    assert caplog.text == ""


def test_what_takes_longer_is_given_up_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    done: list[None] = []
    released, begun = threading.Event(), threading.Semaphore(0)

    def hang() -> None:
        begun.release()
        released.wait(10)

    afterwards = BackgroundTasks()
    for _ in range(background._THREADS):
        afterwards(hang)
    afterwards(lambda: done.append(None))
    for _ in range(background._THREADS):
        assert begun.acquire(timeout=10)

    afterwards.close(0)
    released.set()
    afterwards._pool.shutdown(wait=True)

    assert f"Mails not sent, because the service stops: {background._THREADS + 1}" in caplog.text
    assert done == []  # the log line stays true


def test_after_closing_nothing_is_taken_and_nobody_hears_an_error(caplog: pytest.LogCaptureFixture) -> None:
    afterwards = BackgroundTasks()
    afterwards.close(0)

    afterwards(lambda: None)

    assert "A mail is not sent: cannot schedule new futures after shutdown" in caplog.text


# The port says that it never raises: the account is there, and its owner is to hear so.
def test_a_thread_that_cannot_be_had_is_logged_and_takes_no_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_MOST_WAITING", 2)
    afterwards = BackgroundTasks()

    def cannot_start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", cannot_start)
        for _ in range(3):
            afterwards(lambda: None)
    assert caplog.text.count("A mail is not sent: can't start new thread") == 3

    done = threading.Event()
    afterwards(done.set)
    assert done.wait(10)
