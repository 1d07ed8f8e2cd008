-- Drift: what a model scored once the outcome was known, the runs of the drift check, their findings.

-- One row per session and model version, from the predictions that were stored then. Written when
-- the labels are known; written anew only where they have changed since, because bars were corrected.
CREATE TABLE session_scores (
    session DATE NOT NULL,
    strategy_id VARCHAR NOT NULL,
    model_version INTEGER NOT NULL,
    n INTEGER NOT NULL,
    -- Spearman's correlation of predictions and labels over the names.
    rank_ic DOUBLE,
    -- Root mean square of label less prediction, over that of the model's own evaluation.
    residual DOUBLE,
    -- Share of the predictions whose sign was right.
    accuracy DOUBLE,
    -- Mean of (probability of a rise - whether it rose) squared.
    brier DOUBLE,
    -- The session on which the last label became known.
    known_on DATE NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- Append-only. The same findings for the same session again are not written again.
CREATE SEQUENCE drift_run_seq;
CREATE TABLE drift_runs (
    run_no BIGINT PRIMARY KEY DEFAULT nextval('drift_run_seq'),
    session DATE NOT NULL,
    -- no_models | ok | drift_detected
    status VARCHAR NOT NULL,
    models_checked INTEGER NOT NULL,
    models_drifted INTEGER NOT NULL,
    rollbacks INTEGER NOT NULL,
    -- Strategy -> why it could not be checked.
    failures JSON NOT NULL,
    -- The HTML report, relative to the data folder; NULL where none was made.
    report VARCHAR,
    run_id VARCHAR,
    recorded_at TIMESTAMPTZ NOT NULL
);

-- The verdict on each model of a run. Two joint statistics decide: the largest of its inputs' checks
-- (features, predictions) and the largest of its outcomes' (errors, performance), each in units in
-- which 0 is the median and 1 the alarm level of a check's own history.
CREATE TABLE drift_models (
    run_no BIGINT NOT NULL,
    session DATE NOT NULL,
    strategy_id VARCHAR NOT NULL,
    model_version INTEGER NOT NULL,
    -- ok | drift_detected | not_enough_data
    state VARCHAR NOT NULL,
    inputs DOUBLE,
    inputs_level DOUBLE,
    outcomes DOUBLE,
    outcomes_level DOUBLE,
    -- In one sentence.
    why VARCHAR NOT NULL,
    -- The version that a rollback by drift went to.
    rolled_back_to INTEGER,
    details JSON NOT NULL
);

CREATE TABLE drift_checks (
    run_no BIGINT NOT NULL,
    session DATE NOT NULL,
    -- NULL: the desk as a whole.
    strategy_id VARCHAR,
    model_version INTEGER,
    -- feature | prediction | concept | performance | execution
    family VARCHAR NOT NULL,
    -- psi | ks | adwin | cusum | rolling_sharpe | drawdown | hit_rate | brier | rank_ic |
    -- slippage_bias
    detector VARCHAR NOT NULL,
    -- The feature's name, prediction, residual, rank_ic, …
    subject VARCHAR NOT NULL,
    -- ok | warning | alarm | not_enough_data
    state VARCHAR NOT NULL,
    value DOUBLE,
    -- The textbook's level, and the one of its own history; NULL where there is none.
    warn_at DOUBLE,
    alarm_at DOUBLE,
    -- Beyond alarm_at.
    breached BOOLEAN NOT NULL,
    -- It is (with others, perhaps) why its model is said to have drifted.
    decisive BOOLEAN NOT NULL,
    n INTEGER NOT NULL,
    window_first DATE,
    window_last DATE,
    details JSON NOT NULL
);
