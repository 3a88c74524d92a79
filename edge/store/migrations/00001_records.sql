-- The same text runs on SQLite and PostgreSQL: times are microseconds since 1970 in UTC, lists and documents are JSON kept byte for byte.

-- +goose Up
CREATE TABLE bases (
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    created BIGINT NOT NULL,
    name    TEXT NOT NULL UNIQUE,
    digest  TEXT NOT NULL,
    size    BIGINT NOT NULL
);
CREATE INDEX bases_by_age ON bases (created, id);

CREATE TABLE modules (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    created    BIGINT NOT NULL,
    name       TEXT NOT NULL,
    visibility TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       BIGINT NOT NULL,
    base       TEXT NOT NULL,
    task       TEXT NOT NULL,
    author     TEXT NOT NULL,
    licence    TEXT NOT NULL,
    rank       BIGINT NOT NULL,
    targets    TEXT NOT NULL,
    search     TEXT NOT NULL -- name, task and base, a line each, in the lower case of Unicode, which SQLite's own lower() does not know
);
CREATE INDEX modules_by_age ON modules (created, id);
CREATE INDEX modules_by_owner ON modules (owner, created, id);
CREATE INDEX modules_by_digest ON modules (digest);

CREATE TABLE plugins (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    created    BIGINT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    visibility TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       BIGINT NOT NULL
);
CREATE INDEX plugins_by_age ON plugins (created, id);
CREATE INDEX plugins_by_digest ON plugins (digest);

CREATE TABLE compositions (
    id       TEXT PRIMARY KEY,
    owner    TEXT NOT NULL,
    created  BIGINT NOT NULL,
    request  TEXT NOT NULL,
    state    TEXT NOT NULL,
    canceled BOOLEAN NOT NULL,
    fence    BIGINT NOT NULL,
    worker   TEXT NOT NULL,
    lease    BIGINT,
    started  BIGINT,
    ended    BIGINT,
    done     BIGINT NOT NULL,
    budget   BIGINT NOT NULL,
    result   TEXT NOT NULL,
    adapter  TEXT NOT NULL,
    fault    TEXT NOT NULL
);
CREATE INDEX compositions_by_owner ON compositions (owner, created, id);
CREATE INDEX compositions_by_adapter ON compositions (adapter);
CREATE INDEX compositions_open ON compositions (created, id) WHERE state IN ('queued', 'running');

CREATE TABLE evaluations (
    composition TEXT NOT NULL REFERENCES compositions (id) ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    line        TEXT NOT NULL,
    PRIMARY KEY (composition, number)
);

CREATE TABLE keys (
    id      TEXT PRIMARY KEY,
    owner   TEXT NOT NULL,
    created BIGINT NOT NULL,
    name    TEXT NOT NULL,
    hash    TEXT NOT NULL UNIQUE, -- hexadecimal
    scopes  TEXT NOT NULL,
    expires BIGINT,
    revoked BIGINT
);
CREATE INDEX keys_by_owner ON keys (owner, created, id);

CREATE TABLE audit (
    id        TEXT PRIMARY KEY,
    created   BIGINT NOT NULL,
    principal TEXT NOT NULL,
    action    TEXT NOT NULL,
    detail    TEXT NOT NULL,
    address   TEXT NOT NULL
);
CREATE INDEX audit_by_age ON audit (created, id);

-- What a create made, so that one sent twice makes one record.
CREATE TABLE idempotency (
    owner   TEXT NOT NULL,
    key     TEXT NOT NULL,
    request TEXT NOT NULL, -- SHA-256 of kind and request
    object  TEXT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_by_age ON idempotency (created);

-- +goose Down
DROP TABLE idempotency;
DROP TABLE audit;
DROP TABLE keys;
DROP TABLE evaluations;
DROP TABLE compositions;
DROP TABLE plugins;
DROP TABLE modules;
DROP TABLE bases;
