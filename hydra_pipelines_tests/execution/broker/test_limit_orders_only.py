"""Nothing in the package can make anything but a limit order: by name, and by order type."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hydra_pipelines

PACKAGE = Path(hydra_pipelines.__file__).parent
VENUE = "paper_gateway"
ONLY_MAKER = "execution/broker/client.py"

ALLOWED = frozenset({"LimitOrder", "placeOrder", "reqGlobalCancel"})
"""What the one module that talks to the client library uses of it to make and send orders."""
NAMES = ALLOWED | {
    "Order", "MarketOrder", "StopOrder", "StopLimitOrder", "BracketOrder", "bracketOrder",
    "TrailOrder", "exerciseOptions",
}  # fmt: skip
"""What of the client libraries makes, sends or changes orders."""
TYPES = frozenset({
    "MKT", "MOC", "MOO", "MIT", "MTL", "MIDPRICE", "STP", "STP LMT", "STP PRT", "TRAIL",
    "TRAIL LIMIT", "REL", "LIT", "LOC", "LOO", "PEG MKT", "PEG MID", "PEG BEST", "PEG BENCH",
    "VOL", "BOX TOP", "MKT PRT", "PASSV REL", "SNAP MKT", "SNAP MID",
})  # fmt: skip
FIELDS = frozenset({"orderType", "order_type"})


def ways_to_other_orders(tree: ast.AST, *, maker: bool) -> Iterator[str]:
    """What in a module could make an order that is no limit order."""
    allowed = ALLOWED if maker else frozenset()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
                if name in NAMES - allowed:
                    yield f"line {getattr(node, 'lineno', '?')}: uses {name}"
                if name in FIELDS:
                    yield f"line {getattr(node, 'lineno', '?')}: touches {name}"
            case ast.keyword(arg=name) if name in FIELDS:
                yield f"line {node.value.lineno}: sets {name}"
            case ast.Constant(value=str(text)):
                if text in TYPES:
                    yield f"line {node.lineno}: names order type {text}"
                if text in (NAMES - ALLOWED) | FIELDS:
                    yield f"line {node.lineno}: spells {text}"


def modules() -> list[Path]:
    return sorted(
        path for path in PACKAGE.rglob("*.py") if VENUE not in path.relative_to(PACKAGE).parts
    )


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_can_make_another_order(path: Path):
    maker = path.relative_to(PACKAGE).as_posix() == ONLY_MAKER
    assert list(ways_to_other_orders(ast.parse(path.read_text()), maker=maker)) == []


@pytest.mark.parametrize(
    "code",
    [
        "library.MarketOrder('BUY', 1)",
        "from ib_insync import MarketOrder",
        "from ib_async import Order as O",
        "order.orderType = 'LMT'",
        "LimitOrder('BUY', 1, 1, orderType=kind)",
        "kind = 'MKT'",
        "setattr(order, 'orderType', kind)",
        "getattr(library, 'MarketOrder')('BUY', 1)",
        "client.exerciseOptions(1)",
        "client.placeOrder(1, c, o)",
    ],
)
def test_every_way_would_be_noticed(code: str):
    assert list(ways_to_other_orders(ast.parse(code), maker=False))


def test_the_one_maker_makes_limit_orders():
    tree = ast.parse((PACKAGE / ONLY_MAKER).read_text())
    calls = [
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr.endswith("Order")
    ]
    assert sorted(calls) == ["LimitOrder", "cancelOrder", "placeOrder"]
