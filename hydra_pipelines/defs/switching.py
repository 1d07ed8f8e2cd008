"""Switching a schedule of the project on and off, as the switch in the Dagster UI does.

The state belongs to the instance; it is written without loading the code as the daemon does, which
takes seconds: what names a schedule there is its location, its repository and itself.
"""

from __future__ import annotations

import os
import time

import dagster as dg
from dagster._core.definitions.selector import InstigatorSelector
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from hydra_pipelines.day.timetable import Slot

LOCATION = "hydra_pipelines"
"""The code location's name: the module that `workspace.yaml` names."""
_REPOSITORY = "__repository__"


def is_on(instance: dg.DagsterInstance, slot: Slot) -> bool:
    """Whether the daemon fires the schedule."""
    state = _state(instance, slot)
    return slot.on if state is None else state.is_running


def switch(instance: dg.DagsterInstance, slot: Slot, on: bool) -> bool:
    """Switch a schedule; false where it was so already. Ticks before now are not made up."""
    if is_on(instance, slot) is on:
        return False
    before = _state(instance, slot)
    origin = before.origin if before else origin_of(slot)
    status = InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED
    data = ScheduleInstigatorData(slot.cron, time.time() if on else None)
    state = InstigatorState(origin, InstigatorType.SCHEDULE, status, data)
    if before is None:
        instance.add_instigator_state(state)
    else:
        instance.update_instigator_state(state)
    return True


def _state(instance: dg.DagsterInstance, slot: Slot) -> InstigatorState | None:
    origin = origin_of(slot)
    return instance.get_instigator_state(origin.get_id(), _selector_id(slot))


def _selector_id(slot: Slot) -> str:
    return InstigatorSelector(
        location_name=LOCATION, repository_name=_REPOSITORY, name=slot.name
    ).get_id()


def origin_of(slot: Slot) -> RemoteInstigatorOrigin:
    """Where the schedule comes from, as the instance names it."""
    # As `dagster schedule start -m` writes it; the daemon and the UI go by the names alone.
    target = LoadableTargetOrigin(module_name=LOCATION, working_directory=os.getcwd())
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        loadable_target_origin=target, location_name=LOCATION
    )
    return RemoteInstigatorOrigin(
        repository_origin=RemoteRepositoryOrigin(
            code_location_origin=location, repository_name=_REPOSITORY
        ),
        instigator_name=slot.name,
    )
