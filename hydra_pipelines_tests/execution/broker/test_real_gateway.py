"""Against a paper IB Gateway or TWS that somebody runs: IB_GATEWAY_HOST, and IB_GATEWAY_PORT."""

from __future__ import annotations

import os

import pytest

from hydra_pipelines.execution.broker.diagnose import OrderTrial, diagnose
from hydra_pipelines.execution.broker.gateway import BrokerGateway, Endpoint
from hydra_pipelines.execution.broker.messages import Known
from hydra_pipelines.execution.risk.gate import RiskGate
from hydra_pipelines.execution.risk.limits import RiskLimits

pytestmark = pytest.mark.ib_gateway


@pytest.fixture
def real() -> Endpoint:
    return Endpoint(
        os.environ["IB_GATEWAY_HOST"], int(os.environ.get("IB_GATEWAY_PORT", "4002")), 17, ""
    )


def test_its_state_is_known(real: Endpoint):
    with BrokerGateway(real, RiskGate(RiskLimits())) as broker:
        assert isinstance(broker.account(), Known)
        assert isinstance(broker.state(), Known)
        assert isinstance(broker.contract("AAPL"), Known)
        assert broker.doubt is None


def test_a_test_order_is_placed_and_cancelled(real: Endpoint):
    # Paper accounts often have delayed data only.
    trial = OrderTrial(RiskLimits(max_quote_age_s=1_000_000), False, 0)
    findings = list(diagnose(real, trial=trial))
    assert all(finding.ok for finding in findings), findings
    assert findings[-1].check == "test order"
