-- +goose Up
CREATE INDEX modules_by_name ON modules (name, created, id);

-- +goose Down
DROP INDEX modules_by_name;
