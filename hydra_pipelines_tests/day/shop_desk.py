"""The desk of a workshop: its gateway, ledger and clock behind the interface of a desk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

from hydra_pipelines.desk import Desk
from hydra_pipelines.execution.broker.client import TwsClient
from hydra_pipelines.ledger.store import Ledger
from hydra_pipelines.settings import load_settings
from hydra_pipelines_tests.execution.orders.workshop import ACCOUNT, Shop


class ShopDesk(Desk):
    """Commands find the same desk in `shop.home`."""

    def __init__(self, shop: Shop):
        super().__init__(load_settings(data_dir=shop.home))
        self.shop = shop
        shop.ledger = Ledger(self.settings.ledger_path, 10)
        self.settings.venue_path.symlink_to(shop.home / "venue")
        self.settings.cache_path.symlink_to(shop.home.parent / "calendar")
        # In place of the parts that the settings would make.
        self.__dict__.update(
            ledger=shop.ledger, calendar=shop.calendar, venue=shop.venue, clock=shop.clock,
            work=replace(self.work, grace_s=0.05),
        )  # fmt: skip


@contextmanager
def resting_orders(shop: Shop, *refs: str, client_id: int = 17) -> Iterator[TwsClient]:
    """Orders that rest far from the market, placed past the desk; an empty ref is one by hand."""
    client = TwsClient(5)
    client.connect(shop.venue.host, shop.venue.port, client_id, 4)
    try:
        (contract,) = client.contract("ALFA")
        for i, ref in enumerate(refs):
            client.place_limit(
                client.next_valid_id + i,
                contract,
                side="BUY",
                quantity=10 + i,
                limit_price=Decimal("40.00"),
                tif="DAY",
                account=ACCOUNT,
                order_ref=ref,
            )
        client.current_time()
        yield client
    finally:
        client.close()
