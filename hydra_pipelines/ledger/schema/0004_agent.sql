-- The self-healing agent: its cycles, the journal of its experiments, and what it watches.

CREATE TABLE healing_cycles (
    cycle_id VARCHAR PRIMARY KEY,
    session DATE NOT NULL,
    autonomy VARCHAR NOT NULL,
    -- planned -> measured -> deciding -> done. One that is not done is gone on with.
    stage VARCHAR NOT NULL,
    drift_run_no BIGINT,
    -- Cause and evidence, by strategy.
    diagnoses JSON NOT NULL,
    -- What is to be done about each experiment that is the best: written before it is done.
    choices JSON NOT NULL,
    outcome VARCHAR,
    run_id VARCHAR,
    started_at TIMESTAMPTZ NOT NULL,
    ended_at TIMESTAMPTZ
);

-- The journal. What was tried never changes; what came of it is filled in, and each decision is an
-- event of the audit trail too.
CREATE TABLE experiments (
    experiment_id VARCHAR PRIMARY KEY,
    cycle_id VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    session DATE NOT NULL,
    -- NULL: of the desk as a whole.
    strategy_id VARCHAR,
    cause VARCHAR NOT NULL,
    hypothesis VARCHAR NOT NULL,
    mutation_type VARCHAR NOT NULL,
    -- Setting -> [before, after].
    difference JSON NOT NULL,
    -- All that the candidate is made by; NULL where it is no model.
    configuration JSON,
    -- The champion that it is measured against.
    champion_version INTEGER,
    -- Sharpe ratios of the other trials that the gate counts.
    earlier_trials JSON NOT NULL,
    attempts INTEGER NOT NULL,
    -- NULL until it is measured.
    measured_at TIMESTAMPTZ,
    candidate_version INTEGER,
    mlflow_run_id VARCHAR,
    results JSON,
    passed BOOLEAN,
    -- pending | promoted | rejected | rolled_back | failed
    decision VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    decided_at TIMESTAMPTZ
);

-- Versions that were promoted on the agent's word, held against what they replaced.
CREATE TABLE model_watches (
    watch_id VARCHAR PRIMARY KEY,
    experiment_id VARCHAR NOT NULL,
    strategy_id VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    replaced_version INTEGER NOT NULL,
    promoted_by VARCHAR NOT NULL,
    first_session DATE NOT NULL,
    sessions INTEGER NOT NULL,
    margin DOUBLE NOT NULL,
    -- watching | kept | rolled_back | ended
    state VARCHAR NOT NULL,
    last_session DATE,
    figures JSON NOT NULL,
    reason VARCHAR NOT NULL,
    opened_at TIMESTAMPTZ NOT NULL,
    closed_at TIMESTAMPTZ
);

-- How a version's predictions become signals where that is not as the settings say; in force only
-- while the settings say what they said then.
CREATE TABLE signal_rules (
    strategy_id VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    instead_of JSON NOT NULL,
    signal JSON NOT NULL,
    experiment_id VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
