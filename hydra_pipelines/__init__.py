"""A daily machine-learning equity desk. `-m hydra_pipelines` is a Dagster code location.

Importing this package imports nothing else: `defs` is built when somebody asks for it.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "defs":
        from hydra_pipelines.definitions import defs

        return defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster looks for definitions among the names that a module lists.
    return [*globals(), "defs"]
