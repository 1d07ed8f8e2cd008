"""Resources: the desk, opened once a run and closed with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import PrivateAttr

from hydra_pipelines.defs.failures import tell_at_the_end
from hydra_pipelines.defs.whereabouts import note, noted
from hydra_pipelines.desk import Desk
from hydra_pipelines.settings import Settings


class DeskResource(dg.ConfigurableResource):
    """The desk of this environment. All steps of a run share it, with its broker connection."""

    @staticmethod
    def of(settings: Settings) -> DeskResource:
        """A desk by the settings given, wherever the environment points."""

        # A subclass, since a run makes its own copy of a resource from its class and its config.
        class GivenDesk(DeskResource):
            def open(self) -> Desk:
                return Desk(settings)

        return GivenDesk()

    def open(self) -> Desk:
        return Desk.open()

    _desk: Desk | None = PrivateAttr(default=None)

    @property
    def desk(self) -> Desk:
        if self._desk is None:
            self._desk = self.open()
        return self._desk

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[DeskResource]:
        # Where steps go to other machines, the process that sends them has noted itself before.
        if context.run is not None and context.instance is not None and noted(context.run) is None:
            note(context.instance, context.run)
        try:
            yield self
        finally:
            if context.run is not None and context.instance is not None:
                tell_at_the_end(lambda: self.desk, context.instance, context.run)
            if self._desk is not None:
                self._desk.close()
                self._desk = None
