"""When a task counts as lost: by what its result says, and whether its worker answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("dagster_celery", reason="the extra `scale` is not installed")

from hydra_pipelines.defs.workers import Limits, WatchedTask, WorkerLost

WAIT, SILENCE = 100.0, 20.0


class Sent:
    """What Celery tells of a task that was sent."""

    def __init__(self) -> None:
        self.id, self.status, self.revoked = "task", "PENDING", False
        self.backend = SimpleNamespace(
            get_task_meta=lambda _: {"status": self.status, "result": {"hostname": "broker@here"}}
        )

    def ready(self) -> bool:
        return self.status in ("SUCCESS", "FAILURE")

    def get(self) -> Any:
        if self.status == "FAILURE":
            raise ValueError("what the task raised")
        return ["events"]

    def revoke(self) -> None:
        self.revoked = True


class World:
    """A task and its worker, and the clock that they live by."""

    def __init__(self) -> None:
        self.now, self.alive, self.asked = 0.0, True, 0
        self.sent = Sent()
        self.task = WatchedTask(
            "the step executions",
            "hydra.broker",
            self.sent,  # type: ignore[arg-type]
            Limits(WAIT, SILENCE),
            self.answers,
            lambda: self.now,
        )

    def answers(self, worker: str) -> bool:
        assert worker == "broker@here"
        self.asked += 1
        return self.alive

    def ready_within(self, seconds: float) -> bool:
        """Looks twice a second until it is ready, or that time has passed."""
        until = self.now + seconds
        while self.now < until and not self.task.ready():
            self.now += 0.5
        return self.task.ready()


@pytest.fixture
def world() -> World:
    return World()


def test_a_result_is_handed_on(world: World) -> None:
    assert not world.ready_within(5)
    world.sent.status = "STARTED"
    assert not world.ready_within(5)
    world.sent.status = "SUCCESS"
    assert world.task.ready() and world.task.get() == ["events"]


def test_what_the_task_raised_is_raised(world: World) -> None:
    world.sent.status = "FAILURE"
    assert world.task.ready()
    with pytest.raises(ValueError, match="what the task raised"):
        world.task.get()


def test_a_task_that_nobody_takes_is_given_up(world: World) -> None:
    assert not world.ready_within(WAIT - 1)
    assert world.ready_within(2)
    with pytest.raises(WorkerLost, match=r"taken the step executions from the queue hydra.broker"):
        world.task.get()


def test_a_worker_that_answers_may_take_as_long_as_it_likes(world: World) -> None:
    """And isn't asked all the time."""
    world.sent.status = "STARTED"
    assert not world.ready_within(50 * SILENCE)
    assert world.asked <= 10 * 50 + 1


def test_a_worker_that_falls_silent_is_lost_after_a_while(world: World) -> None:
    assert not world.ready_within(WAIT - 1)
    world.sent.status = "STARTED"
    # The time in the queue is none of its silence.
    world.alive = False
    assert not world.ready_within(SILENCE - 1)
    assert world.ready_within(4)
    with pytest.raises(WorkerLost, match=r"broker@here has not answered for 20 s while it had the"):
        world.task.get()


def test_a_pause_in_its_answers_is_no_loss(world: World) -> None:
    world.sent.status = "STARTED"
    for _ in range(10):
        world.alive = False
        assert not world.ready_within(SILENCE - 4)
        world.alive = True
        assert not world.ready_within(4)


def test_a_result_that_comes_late_counts(world: World) -> None:
    world.sent.status, world.alive = "STARTED", False
    assert world.ready_within(SILENCE + 5)
    world.sent.status = "SUCCESS"
    assert world.task.get() == ["events"]


def test_revoking_reaches_the_task(world: World) -> None:
    world.task.revoke()
    assert world.sent.revoked
