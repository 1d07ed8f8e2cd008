"""Many events without a run, stored at once.

`DagsterInstance.report_runless_asset_event` takes one at a time, and with SQLite opens several
connections and transactions for each, which is longer than the session took that it tells of. Here
is the same in one transaction a file, for that storage alone, as its own `store_event` writes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import dagster as dg

Reported = dg.AssetMaterialization | dg.AssetCheckEvaluation


def report_together(instance: dg.DagsterInstance, events: Sequence[Reported]) -> None:
    """Record materialisations and evaluations, in the order given, that belong to no run."""
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

    storage = instance.event_log_storage
    if events and type(storage) is SqliteEventLogStorage:
        _store(storage, events)
        return
    for event in events:
        instance.report_runless_asset_event(event)


def _store(storage: object, events: Sequence[Reported]) -> None:
    from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
    from dagster._core.events.log import EventLogEntry
    from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
    from dagster._core.storage.event_log.schema import (
        AssetCheckExecutionsTable,
        AssetKeyTable,
        SqlEventLogStorageTable,
    )
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
    from sqlalchemy import func, select

    assert isinstance(storage, SqliteEventLogStorage)
    entries = []
    for event in events:
        materialised = isinstance(event, dg.AssetMaterialization)
        kind = (
            DagsterEventType.ASSET_MATERIALIZATION
            if materialised
            else DagsterEventType.ASSET_CHECK_EVALUATION
        )
        entries.append(
            EventLogEntry(
                error_info=None,
                level=20,
                user_message="",
                run_id=RUNLESS_RUN_ID,
                timestamp=time.time(),
                job_name=RUNLESS_JOB_NAME,
                dagster_event=DagsterEvent(
                    event_type_value=kind.value,
                    job_name=RUNLESS_JOB_NAME,
                    event_specific_data=StepMaterializationData(event)
                    if isinstance(event, dg.AssetMaterialization)
                    else event,
                ),
            )
        )
    rows = [storage._event_to_row(entry) for entry in entries]
    with storage.run_connection(RUNLESS_RUN_ID) as connection:
        connection.execute(SqlEventLogStorageTable.insert(), rows)
    with storage.index_transaction() as connection:
        connection.execute(SqlEventLogStorageTable.insert(), rows)
        # The file is ours until the transaction ends, so the last numbers are those of the rows.
        last = connection.execute(select(func.max(SqlEventLogStorageTable.c.id))).scalar_one()
        numbered = list(zip(range(last - len(rows) + 1, last + 1), entries, rows, strict=True))
        made = [(n, entry) for n, entry, _ in numbered if entry.get_dagster_event().asset_key]
        storage._store_asset_event_tags(
            connection, [entry for _, entry in made], [n for n, _ in made]
        )
        # Of each asset the last materialisation is kept apart.
        for key, (number, entry) in {
            entry.get_dagster_event().asset_key: (number, entry) for number, entry in made
        }.items():
            assert key is not None
            kept = connection.execute(
                AssetKeyTable.update()
                .where(AssetKeyTable.c.asset_key == key.to_string())
                .values(**storage._get_asset_entry_values(entry, number, True))
            )
            if not kept.rowcount:
                storage._store_asset_event(connection, entry, number)
        status = AssetCheckExecutionRecordStatus
        checks = [
            {
                "asset_key": check.asset_key.to_string(),
                "check_name": check.check_name,
                "partition": check.partition,
                "run_id": RUNLESS_RUN_ID,
                "execution_status": (status.SUCCEEDED if check.passed else status.FAILED).value,
                "evaluation_event": row["event"],
                "evaluation_event_timestamp": row["timestamp"],
                "evaluation_event_storage_id": number,
            }
            for number, entry, row in numbered
            if isinstance(check := entry.get_dagster_event().event_specific_data, Reported)
        ]
        if checks:
            connection.execute(AssetCheckExecutionsTable.insert(), checks)
