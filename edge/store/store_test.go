package store_test

import (
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/edge/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "records 100%?#.db") })
}

func TestPostgres(t *testing.T) {
	server := storetest.StartPostgres(t)
	storetest.Run(t, func(t *testing.T) string { return server.Database(t) })
}
