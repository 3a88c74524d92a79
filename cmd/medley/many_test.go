//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/medley-lora/medley/shared/zoo/zoomany"
)

const manyModules = 200

// many makes 200 modules and returns their folder and the bytes in it.
func (p place) many(t *testing.T) (dir string, bytes int64) {
	t.Helper()
	dir = p.to("many")
	if err := zoomany.Make(dir, manyModules, 7); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, failed := d.Info()
			if failed != nil {
				return failed
			}
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, bytes
}

// TestManyModulesEndNoWorse: narrowing 200 modules within the budget ends no worse than searching 20 of them drawn at random, on
// average over draws and over tasks.
func TestManyModulesEndNoWorse(t *testing.T) {
	p := newPlace(t)
	dir, _ := p.many(t)
	const draws = 3
	var narrowed, sampled float64
	for _, task := range []string{"which_shelf", "together", "alive_or_edible", "last_week"} {
		args := []string{"compose", "--base", p.base(), "--examples", p.few(task), "--modules", filepath.Join(dir, "*"), "--backend", "cpu", "--json"}
		got := decodeLoosely(t, succeed(t, append(args, "--out", p.to(task))...).stdout)
		if got.Evaluations != 40 || got.Narrowed.From != manyModules || got.Narrowed.Evaluations < 2 {
			t.Errorf("%s: %d evaluations, narrowed %+v", task, got.Evaluations, got.Narrowed)
		}
		narrowed += got.Composed.Objective * draws
		for draw := range draws {
			out := p.to(fmt.Sprint(task, draw))
			o := succeed(t, append(args, "--sample", "20", "--sample-seed", fmt.Sprint(draw+1), "--out", out)...)
			sampled += decodeLoosely(t, o.stdout).Composed.Objective
		}
	}
	t.Logf("sum of objectives: %.4f narrowed, %.4f sampled", narrowed, sampled)
	if narrowed > sampled {
		t.Errorf("narrowing ends at objectives of %.4f together, random samples at %.4f", narrowed, sampled)
	}
}

// TestManyModulesCostNoMoreThanTheirFiles compares the peak memory of the program with 200 modules and with 20 of them.
func TestManyModulesCostNoMoreThanTheirFiles(t *testing.T) {
	p := newPlace(t)
	dir, bytes := p.many(t)
	peak := func(out string, more ...string) int64 {
		args := []string{"compose", "--base", p.base(), "--examples", p.few("versus"), "--modules", filepath.Join(dir, "*"), "--backend", "cpu",
			"--budget", "60", "--out", p.to(out)}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		program := exec.CommandContext(t.Context(), self, append(args, more...)...)
		program.Env = append(os.Environ(), asProgram+"=1")
		if output, err := program.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return program.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	}
	few, all := peak("few", "--sample", "20"), peak("all")
	t.Logf("peak memory %d MiB with 20 modules, %d MiB with %d, whose files have %d MiB", few>>20, all>>20, manyModules, bytes>>20)
	if all-few > bytes {
		t.Errorf("%d modules cost %d bytes more memory than 20; their files have %d", manyModules, all-few, bytes)
	}
}

// narrowedResult is what these tests read of a result.
type narrowedResult struct {
	Evaluations int
	Composed    struct{ Objective float64 }
	Narrowed    struct{ From, Evaluations int }
}

func decodeLoosely(t *testing.T, stdout string) narrowedResult {
	t.Helper()
	var r narrowedResult
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	return r
}
