-- Where the plan of a session was worked: a row for each run that had a connection, before it sends.
-- Append-only. Account ids don't tell the venues apart: the stand-in's is whatever the settings say.
CREATE TABLE session_venues (
    session DATE NOT NULL,
    execution_session DATE NOT NULL,
    account VARCHAR NOT NULL,
    -- paper | live
    mode VARCHAR NOT NULL,
    -- embedded | ibkr
    venue VARCHAR NOT NULL,
    server_version INTEGER NOT NULL,
    run_id VARCHAR NOT NULL,
    recorded_at TIMESTAMPTZ NOT NULL
);
