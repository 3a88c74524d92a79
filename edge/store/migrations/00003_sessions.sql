-- +goose Up
-- Evaluations that are open: what a client's optimizer scores weights on.
CREATE TABLE sessions (
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    created BIGINT NOT NULL,
    request TEXT NOT NULL,
    facts   TEXT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX sessions_by_end ON sessions (expires);

-- +goose Down
DROP TABLE sessions;
