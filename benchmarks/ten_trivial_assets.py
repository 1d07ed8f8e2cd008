"""The floor of a Dagster run: ten assets that do nothing, in one process. Measured by cycle.py."""

import dagster as dg


def _asset(n: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"nothing_{n}", deps=[f"nothing_{n - 1}"] if n else [])
    def asset() -> None: ...

    return asset


defs = dg.Definitions(
    assets=[_asset(n) for n in range(10)],
    jobs=[dg.define_asset_job("ten", selection="*")],
    executor=dg.in_process_executor,
)
