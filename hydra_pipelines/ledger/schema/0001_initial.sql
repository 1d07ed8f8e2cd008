-- The truth of the desk. Money and prices are exact decimals; instants are UTC; sessions are dates.

CREATE SEQUENCE order_event_seq;
CREATE SEQUENCE audit_event_seq;

-- What the lake held when a session was decided: a chained hash over all rows up to the session.
CREATE TABLE data_snapshots (
    session DATE NOT NULL,
    snapshot_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    symbols INTEGER NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- Versions that may trade, and the hash of the inference arrays that were reviewed.
CREATE TABLE model_versions (
    strategy_id VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    mlflow_run_id VARCHAR NOT NULL,
    artifact_sha256 VARCHAR NOT NULL,
    trained_through DATE NOT NULL,
    data_snapshot_id VARCHAR NOT NULL,
    code_version VARCHAR NOT NULL,
    metrics JSON NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (strategy_id, version)
);

-- Append-only: who moved the champion, from what to what, and why.
CREATE TABLE promotions (
    strategy_id VARCHAR NOT NULL,
    from_version INTEGER,
    to_version INTEGER NOT NULL,
    actor VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE predictions (
    session DATE NOT NULL,
    strategy_id VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    prediction DOUBLE NOT NULL,
    probability_up DOUBLE NOT NULL,
    model_version INTEGER NOT NULL,
    data_snapshot_id VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE signals (
    session DATE NOT NULL,
    strategy_id VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    signal TINYINT NOT NULL,
    prediction DOUBLE NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- status: draft (may be made anew) -> executing (frozen) -> done | expired
CREATE TABLE plans (
    plan_id VARCHAR PRIMARY KEY,
    session DATE NOT NULL,
    execution_session DATE NOT NULL,
    account VARCHAR NOT NULL,
    equity DECIMAL(18, 2) NOT NULL,
    cash DECIMAL(18, 2) NOT NULL,
    status VARCHAR NOT NULL,
    dry_run BOOLEAN NOT NULL,
    notes JSON NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE plan_rows (
    plan_id VARCHAR NOT NULL,
    sequence INTEGER NOT NULL,
    symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL,
    quantity BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    current_quantity BIGINT NOT NULL,
    target_quantity BIGINT NOT NULL,
    current_weight DOUBLE NOT NULL,
    -- NULL where the name is held and only trimmed to its limit.
    target_weight DOUBLE,
    reference_price DECIMAL(18, 4) NOT NULL,
    notional DECIMAL(18, 2) NOT NULL,
    predicted_slippage_bps DOUBLE NOT NULL,
    routing VARCHAR NOT NULL,
    strategies VARCHAR NOT NULL
);

-- Written before anything is sent. Never changed but for the broker's addresses of the order.
CREATE TABLE order_intents (
    order_ref VARCHAR PRIMARY KEY,
    plan_id VARCHAR NOT NULL,
    session DATE NOT NULL,
    execution_session DATE NOT NULL,
    account VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL,
    quantity BIGINT NOT NULL,
    limit_price DECIMAL(18, 4) NOT NULL,
    tif VARCHAR NOT NULL,
    arrival_price DECIMAL(18, 6) NOT NULL,
    arrival_at TIMESTAMPTZ NOT NULL,
    predicted_slippage_bps DOUBLE NOT NULL,
    routing VARCHAR NOT NULL,
    strategies VARCHAR NOT NULL,
    slice INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    order_id BIGINT NOT NULL,
    run_id VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- Facts. The state of an order is the fold over its events.
CREATE TABLE order_events (
    seq BIGINT NOT NULL DEFAULT nextval('order_event_seq'),
    order_ref VARCHAR NOT NULL,
    event VARCHAR NOT NULL,
    details JSON NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE risk_decisions (
    order_ref VARCHAR NOT NULL,
    -- PLAN_ID-SEQUENCE of the row of the plan that the order works; NULL for an order without one.
    plan_row VARCHAR,
    approved BOOLEAN NOT NULL,
    reasons VARCHAR NOT NULL,
    inputs JSON NOT NULL,
    occurred_at TIMESTAMPTZ NOT NULL
);

-- One row per execution, keyed by its id without the correction digits. Slippage: positive is a cost.
CREATE TABLE executed_trades (
    exec_key VARCHAR PRIMARY KEY,
    exec_id VARCHAR NOT NULL,
    order_ref VARCHAR,
    perm_id BIGINT NOT NULL,
    account VARCHAR NOT NULL,
    session DATE NOT NULL,
    executed_at TIMESTAMPTZ NOT NULL,
    symbol VARCHAR NOT NULL,
    side VARCHAR NOT NULL,
    quantity BIGINT NOT NULL,
    price DECIMAL(18, 4) NOT NULL,
    commission DECIMAL(18, 4),
    order_price DECIMAL(18, 4),
    arrival_price DECIMAL(18, 6),
    predicted_slippage_bps DOUBLE,
    actual_slippage DECIMAL(18, 6),
    actual_slippage_bps DOUBLE,
    shortfall_bps DOUBLE,
    latency_ms DOUBLE,
    strategies VARCHAR,
    recorded_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE live_positions (
    account VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    quantity BIGINT NOT NULL,
    entry_price DECIMAL(18, 4) NOT NULL,
    current_price DECIMAL(18, 4) NOT NULL,
    market_value DECIMAL(18, 2) NOT NULL,
    cost_basis DECIMAL(18, 2) NOT NULL,
    unrealized_pnl DECIMAL(18, 2) NOT NULL,
    unrealized_pnl_share DOUBLE NOT NULL,
    strategies VARCHAR NOT NULL,
    as_of DATE NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account, symbol)
);

CREATE TABLE position_history AS FROM live_positions WITH NO DATA;

-- Money that came or went without a trade; the opening balance is the first row.
CREATE TABLE cash_movements (
    account VARCHAR NOT NULL,
    session DATE NOT NULL,
    amount DECIMAL(18, 2) NOT NULL,
    reason VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- The equity curve: one row per session and account.
CREATE TABLE account_snapshots (
    account VARCHAR NOT NULL,
    session DATE NOT NULL,
    equity DECIMAL(18, 2) NOT NULL,
    cash DECIMAL(18, 2) NOT NULL,
    gross DECIMAL(18, 2) NOT NULL,
    net DECIMAL(18, 2) NOT NULL,
    daily_pnl DECIMAL(18, 2) NOT NULL,
    peak DECIMAL(18, 2) NOT NULL,
    drawdown DOUBLE NOT NULL,
    positions INTEGER NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account, session)
);

-- Contracts once known at the broker: identity is the contract id, not the ticker.
CREATE TABLE contracts (
    symbol VARCHAR NOT NULL,
    con_id BIGINT NOT NULL,
    exchange VARCHAR NOT NULL,
    primary_exchange VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    min_tick DECIMAL(18, 6) NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (symbol)
);

CREATE TABLE audit_events (
    seq BIGINT NOT NULL DEFAULT nextval('audit_event_seq'),
    occurred_at TIMESTAMPTZ NOT NULL,
    event VARCHAR NOT NULL,
    actor VARCHAR NOT NULL,
    strategy_id VARCHAR,
    run_id VARCHAR,
    details JSON NOT NULL
);
