-- Routing, breakers, manual actions, calibration, lots, promotion history.

-- Where an entry was carried over from the control store's journal: which store, and its number there.
ALTER TABLE audit_events ADD COLUMN control_store VARCHAR;
ALTER TABLE audit_events ADD COLUMN control_seq BIGINT;

-- Slippage: what an order's prediction was made of (basis points; NULL where not known), and the
-- calibrations of the predictor. Append-only: what undoes a calibration is a row that names it.
ALTER TABLE order_intents ADD COLUMN quoted_half_spread_bps DOUBLE;
ALTER TABLE order_intents ADD COLUMN unit_impact_bps DOUBLE;
CREATE SEQUENCE slippage_calibration_seq;
CREATE TABLE slippage_calibrations (
    id BIGINT PRIMARY KEY DEFAULT nextval('slippage_calibration_seq'),
    -- The calibration that this row undoes; all that follows up to the actor is then NULL.
    undoes BIGINT,
    -- The settings it was made under: a calibration is in force only while they stay the same.
    settings JSON,
    before JSON,
    after JSON,
    first_session DATE,
    last_session DATE,
    fills INTEGER,
    orders INTEGER,
    -- bias / mean predicted over the window, as predicted then and as the new model predicts.
    relative_bias_before DOUBLE,
    relative_bias_after DOUBLE,
    notes JSON,
    actor VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    run_id VARCHAR,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- Promotion history. A move is written down before the alias is moved (stage `intended`) and again
-- when that is over (`done` or `abandoned`); the last row that is done says what trades. Append-only.
ALTER TABLE promotions RENAME TO promotions_before;
CREATE SEQUENCE promotion_seq;
CREATE TABLE promotions (
    seq BIGINT NOT NULL DEFAULT nextval('promotion_seq'),
    -- The rows of one move have the same.
    move_id VARCHAR NOT NULL,
    strategy_id VARCHAR NOT NULL,
    -- first_version | promoted | rolled_back | moved_by_hand | alias_removed | version_deleted
    kind VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    -- NULL: no champion.
    from_version INTEGER,
    to_version INTEGER,
    -- What carried the alias `previous` before.
    previous_version INTEGER,
    actor VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    evidence JSON NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
INSERT INTO promotions BY NAME
    SELECT uuid()::VARCHAR AS move_id, 'promoted' AS kind, 'done' AS stage, '{}' AS evidence,
        COLUMNS(*)
    FROM promotions_before ORDER BY recorded_at;
DROP TABLE promotions_before;

-- Positions and profit. What a position is shared by: strategy -> its share, for the profit of each.
ALTER TABLE plan_rows ADD COLUMN strategy_shares JSON;
-- kind: opening | deposit | withdrawal (paid in and out) | dividend | cash_in_lieu | interest | fee |
-- correction (part of the profit). action_session: the ex-date behind a dividend or a fraction.
ALTER TABLE cash_movements ADD COLUMN kind VARCHAR;
ALTER TABLE cash_movements ADD COLUMN symbol VARCHAR;
ALTER TABLE cash_movements ADD COLUMN action_session DATE;
ALTER TABLE cash_movements ADD COLUMN actor VARCHAR;
-- Shares that came or went without a trade; the journal itself is never rewritten.
CREATE TABLE position_adjustments (
    account VARCHAR NOT NULL,
    -- In force from its open on.
    session DATE NOT NULL,
    effective_at TIMESTAMPTZ NOT NULL,
    symbol VARCHAR NOT NULL,
    -- split | symbol_change (a row for either name) | accepted (a person took the broker's word)
    kind VARCHAR NOT NULL,
    -- The shares' name before, on the row of the name after.
    from_symbol VARCHAR,
    -- Signed change of the shares held.
    quantity BIGINT NOT NULL,
    -- What accepted shares are booked at, a share; NULL where the cost stays as it is.
    price DECIMAL(18, 4),
    reason VARCHAR NOT NULL,
    actor VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
-- Differences between our books and the broker's, as each was first seen; ended_at when it was gone.
CREATE TABLE position_breaks (
    account VARCHAR NOT NULL,
    session DATE NOT NULL,
    -- NULL: cash.
    symbol VARCHAR,
    kind VARCHAR NOT NULL,
    ours DECIMAL(18, 2) NOT NULL,
    brokers DECIMAL(18, 2) NOT NULL,
    explained BOOLEAN NOT NULL,
    why VARCHAR NOT NULL,
    -- The execution that it is about, where the desk did not order it.
    exec_key VARCHAR,
    recorded_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ
);

-- Why an order was routed as it was; `routing` has the algorithm.
ALTER TABLE order_intents ADD COLUMN routing_reason VARCHAR;
