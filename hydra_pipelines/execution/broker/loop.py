"""An event loop in a thread of its own, and the one way to run something on it from outside.

The client library is asynchronous, the desk is not. What runs there is the client's business.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hydra_pipelines.execution.broker.messages import BrokerError

T = TypeVar("T")


class LoopThread:
    """Runs until `stop`; an object of its own for each connection."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """The result of `work`; raises BrokerError where it is late or the socket is gone."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except ConnectionError as error:
            raise BrokerError(f"the connection to the broker was lost: {error}") from error
        except TimeoutError as error:
            future.cancel()
            raise BrokerError(f"the broker did not answer within {timeout_s:g} s") from error

    def stop(self, last: Callable[[], None]) -> None:
        """Call `last` on the loop, give its bytes a moment to leave, and end the thread."""

        def end() -> None:
            try:
                last()
            finally:
                self._loop.call_later(0.01, self._loop.stop)

        self._loop.call_soon_threadsafe(end)
        self._thread.join(timeout=5)
