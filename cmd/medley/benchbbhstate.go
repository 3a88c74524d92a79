package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/peft"
)

// bbhState is what a run leaves for the next: its settings and the measurements made, in one file that is replaced whole.
type bbhState struct {
	Version  int               `json:"version"`
	Settings map[string]string `json:"settings"` // all that a measurement depends on but the task's file
	Cells    []bbhCell         `json:"cells"`

	path string
}

// The file of the state, in the folder for figures and numbers.
const (
	bbhFolder       = "bbh"
	bbhStateName    = "state.json"
	bbhStateVersion = 1
	maxBBHState     = 256 << 20
)

// openBBHState reads the state in a folder, or begins one. A state of other settings is refused: its numbers are not comparable.
func openBBHState(out string, settings map[string]string) (*bbhState, error) {
	s := &bbhState{Version: bbhStateVersion, Settings: settings, path: filepath.Join(out, bbhFolder, bbhStateName)}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o777); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "--out "+out, "cannot be made: %v", errorWithoutPath(err))
	}
	place := "--out " + out + ": " + bbhStateName
	data, err := checkpoint.ReadFile(os.DirFS(filepath.Dir(s.path)), bbhStateName, maxBBHState)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fault.In(place, err)
	}
	var old bbhState
	if err := json.Unmarshal(data, &old); err != nil || old.Version != bbhStateVersion {
		return nil, fault.Wrap(err, fault.Invalid, place, "is not the state of a run of this version; give another --out")
	}
	for _, c := range old.Cells {
		if c.Items < 1 || c.Right < 0 || c.Right > c.Items {
			return nil, fault.New(fault.Invalid, place, "holds a measurement that cannot be: %d right of %d", c.Right, c.Items)
		}
	}
	if different := differing(old.Settings, settings); len(different) > 0 {
		return nil, fault.New(fault.Invalid, place, "is of a run with other settings (%s); give another --out, or the same settings", strings.Join(different, ", "))
	}
	s.Cells = old.Cells
	return s, nil
}

// differing names the settings that differ.
func differing(a, b map[string]string) []string {
	all := maps.Clone(b)
	maps.Copy(all, a)
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(key string) bool { return a[key] == b[key] })
}

// add keeps a measurement.
func (s *bbhState) add(c bbhCell) error {
	s.Cells = append(s.Cells, c)
	data, err := json.Marshal(s)
	if err == nil {
		err = checkpoint.WriteFile(s.path, append(data, '\n'))
	}
	return fault.In(bbhStateName, err)
}

// settings names all that the numbers depend on, contents by their digests.
func (r *bbhRun) settings(baseDir string) (map[string]string, error) {
	base, err := digestOf(baseDir)
	if err != nil {
		return nil, fault.In("--base "+r.Base, err)
	}
	var modules strings.Builder
	shown := r.app.startProgress("reading modules", len(r.modules))
	defer shown.end()
	for i, m := range r.modules {
		digest := "not drawn"
		if m.folder != "" {
			opened, err := peft.Open(m.folder, peft.OpenOptions{AllowPickle: allowPickles})
			if err == nil {
				digest, err = opened.Digest()
			}
			if err != nil {
				return nil, fault.In("module "+m.name, err)
			}
		}
		fmt.Fprintf(&modules, "%s %s\n", digest, m.name)
		if err := r.app.ctx.Err(); err != nil {
			return nil, err
		}
		shown.set(i+1, "")
	}
	settings := r.optimizer.labels()
	maps.Copy(settings, map[string]string{
		"base": base, "modules": digestOfBytes([]byte(modules.String())), "method": r.Method, "backend": r.base.backend, "precision": r.Precision,
		"objective": fmt.Sprintf("%s %g", r.job.Objective.Name, r.job.Objective.Penalty), "optimizer": r.optimizer.name, "budget": fmt.Sprint(r.Budget),
		"batch": fmt.Sprint(r.Batch), "seed": fmt.Sprint(r.Seed), "sample": fmt.Sprint(r.Sample), "limit": fmt.Sprint(r.Limit), "max tokens": fmt.Sprint(r.MaxTokens),
	})
	return settings, nil
}
