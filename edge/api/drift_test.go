package api_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/medley-lora/medley/edge"
)

// TestDrift regenerates the code, so that it cannot be older than the specification or edited by hand.
func TestDrift(t *testing.T) {
	folder := t.TempDir()
	spec, out := filepath.Join(folder, "openapi.yaml"), filepath.Join(folder, "api.gen.go")
	// What the package embeds, because go test does not see what other programs read and would repeat an old result.
	if err := os.WriteFile(spec, edge.OpenAPI, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", "tool", "-modfile=../../tools/go.mod", "oapi-codegen", "-config", "generate.yaml", "-o", out, spec) // as in doc.go
	if message, err := c.CombinedOutput(); err != nil {
		t.Fatalf("oapi-codegen: %v\n%s", err, message)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("api.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("api.gen.go is not what openapi.yaml makes; run: go generate ./edge/api")
	}
}
