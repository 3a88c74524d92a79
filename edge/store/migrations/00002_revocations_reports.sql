-- +goose Up
-- Tokens that are refused although they have not expired, by what they are known by.
CREATE TABLE revocations (
    id      TEXT PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX revocations_by_end ON revocations (expires);

ALTER TABLE compositions ADD COLUMN report TEXT NOT NULL DEFAULT '';
CREATE INDEX compositions_by_report ON compositions (report);

-- +goose Down
DROP INDEX compositions_by_report;
ALTER TABLE compositions DROP COLUMN report;
DROP TABLE revocations;
