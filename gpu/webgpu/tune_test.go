package webgpu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/medley-lora/medley/gpu/kernel"
)

// TestTuning: a device that is not software is measured once, and its choice is found again; a damaged cache is as good as none.
func TestTuning(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "not", "there", "webgpu.json")
	start := func() (*webgpu, *spy) {
		s := newSpy(t)
		s.info.Software = false
		return open(t, s, Options{Cache: cache}), s
	}
	before := time.Now()
	first, s := start()
	t.Logf("took %.1f s and chose %s", time.Since(before).Seconds(), first.tile)
	if s.programsByRun["product"] == 0 {
		t.Error("nothing was measured")
	}
	data, err := os.ReadFile(cache)
	if err != nil || !strings.Contains(string(data), s.info.Adapter) {
		t.Fatalf("the cache is %q, error %v", data, err)
	}
	again, s := start()
	if again.tile != first.tile || s.programsByRun["product"] != 0 {
		t.Errorf("the second start chose %s after %d steps, the first %s", again.tile, s.programsByRun["product"], first.tile)
	}
	foreign := strings.Replace(string(data), `"form": "`+string(first.tile.Form), `"form": "bent`, 1)
	for name, damaged := range map[string]string{"cut": string(data[:len(data)/2]), "null": "null", "list": "[]", "empty": "", "another form": foreign} {
		if err := os.WriteFile(cache, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if known, ok := readCache(cache)[first.cacheKey()]; ok && known.Tile == first.tile {
			t.Errorf("%s: found %+v", name, known)
		}
	}
	if _, s := start(); s.programsByRun["product"] == 0 { // the last of them
		t.Error("a damaged cache was believed")
	}
	if left, err := filepath.Glob(cache + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

// TestSoftwareIsNotMeasured: what is best there is known.
func TestSoftwareIsNotMeasured(t *testing.T) {
	s := newSpy(t)
	s.info.Software = true
	cache := filepath.Join(t.TempDir(), "webgpu.json")
	if b := open(t, s, Options{Cache: cache}); b.tile != kernel.Tiles[0] || s.lists != 0 {
		t.Errorf("chose %s after %d lists", b.tile, s.lists)
	}
	if _, err := os.Stat(cache); err == nil {
		t.Error("wrote a cache")
	}
}
