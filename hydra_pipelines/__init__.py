"""A daily machine-learning equity desk. `-m hydra_pipelines` is a Dagster code location.

Importing this package imports nothing else: the definitions are built when somebody asks for them.
"""

from typing import Any

# Not `defs` or `definitions`: importing the modules of these names would hide the attribute.
_DEFINITIONS = "dagster_definitions"


def __getattr__(name: str) -> Any:
    if name == _DEFINITIONS:
        from hydra_pipelines.definitions import defs

        return defs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    # Dagster looks for definitions among the names that a module lists.
    return [*globals(), _DEFINITIONS]
