package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
)

// results is everything that a run found, as docs/benchmarks/results.json holds it. Every number on the pages comes from here.
type results struct {
	Made        string          `json:"made"` // date
	Command     string          `json:"command"`
	Subject     string          `json:"subject"` // what scaling and free costs are measured on
	Quick       bool            `json:"quick"`
	Minutes     float64         `json:"minutes"`
	Machine     []fact          `json:"machine"`
	Forms       []string        `json:"forms"` // of Medley's weights
	Jobs        []jobs          `json:"jobs"`
	Products    []productResult `json:"products"`
	Evaluations []evaluations   `json:"evaluations"`
	Scaling     []scaling       `json:"scaling"`
	Free        []free          `json:"free"`
	Searches    *searchesResult `json:"searches"`
	GPU         *gpuResult      `json:"gpu"`
}

type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// timing holds the seconds of one system in each round.
type timing struct {
	System string    `json:"system"`
	Rounds []float64 `json:"rounds"`
}

// best is the round that the machine's other work disturbed least.
func (t timing) best() float64 { return slices.Min(t.Rounds) }

func (t timing) median() float64 { return median(t.Rounds) }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// timings by system.
type timings []timing

func (all timings) of(system string) (timing, bool) {
	for _, t := range all {
		if t.System == system {
			return t, true
		}
	}
	return timing{}, false
}

// add enters one round.
func (all *timings) add(system string, seconds float64) {
	for i := range *all {
		if (*all)[i].System == system {
			(*all)[i].Rounds = append((*all)[i].Rounds, seconds)
			return
		}
	}
	*all = append(*all, timing{system, []float64{seconds}})
}

// jobs are whole runs of programs on one workload.
type jobs struct {
	Workload string `json:"workload"`
	Runs     []job  `json:"runs"`
}

// job is one run of one program. Peak is its most memory in MiB, 0 where it is not known.
type job struct {
	System      string  `json:"system"`
	Evaluations int     `json:"evaluations"`
	Search      float64 `json:"search_seconds"`
	Wall        float64 `json:"wall_seconds"`
	Peak        float64 `json:"peak_mib"`
}

// productResult is x [Rows, In] · w [Out, In]ᵀ.
type productResult struct {
	Model   string  `json:"model"` // base, large
	Map     string  `json:"map"`   // attention, wi, wo, head
	Rows    int     `json:"rows"`
	Out     int     `json:"out"`
	In      int     `json:"in"`
	Timings timings `json:"timings"`
}

// gflops is the rate of a system's best round; false if it did not take part.
func (p productResult) gflops(system string) (float64, bool) {
	t, ok := p.Timings.of(system)
	if !ok {
		return 0, false
	}
	return 2 * float64(p.Rows) * float64(p.Out) * float64(p.In) / t.best() / 1e9, true
}

// evaluations are candidates scored on one workload; seconds are of one candidate.
type evaluations struct {
	Workload string               `json:"workload"`
	Timings  timings              `json:"timings"`
	Losses   map[string][]float64 `json:"losses"` // by system: token-mean cross-entropy of each candidate
}

// scaling is one size swept, the others fixed; seconds are of one call for all candidates.
type scaling struct {
	Size   string  `json:"size"`
	Fixed  string  `json:"fixed"`
	Points []point `json:"points"`
}

type point struct {
	Value   int     `json:"value"`
	Timings timings `json:"timings"`
}

// free is a cost that should be zero: cases that should take as long as the first.
type free struct {
	Question string     `json:"question"`
	Cases    []freeCase `json:"cases"`
}

type freeCase struct {
	Name     string  `json:"name"`
	Timings  timings `json:"timings"`
	Resident float64 `json:"resident_mib"`
}

type searchesResult struct {
	Seconds float64  `json:"seconds"`
	Samples []sample `json:"samples"`
}

// gpuResult is what was found on a GPU, or why there is nothing.
type gpuResult struct {
	Device      string          `json:"device"` // "" if there is none
	Why         string          `json:"why"`
	Software    bool            `json:"software"` // an emulation on the CPU: information, not a measurement of a GPU
	Peak        float64         `json:"peak_gflops"`
	Products    []productResult `json:"products"`
	Evaluations []evaluations   `json:"evaluations"`
}

const (
	page   = "benchmarks.md"
	folder = "benchmarks" // beside the page: figures and results
)

func readResults(docs string) (*results, error) {
	data, err := os.ReadFile(filepath.Join(docs, folder, "results.json"))
	if err != nil {
		return nil, err
	}
	r := new(results)
	return r, json.Unmarshal(data, r)
}

// write makes results.json, the figures and the page.
func write(docs string, r *results) error {
	dir := filepath.Join(docs, folder)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{filepath.Join(folder, "results.json"): append(data, '\n')}
	drawings, err := figures(r)
	if err != nil {
		return err
	}
	for name, drawing := range drawings {
		files[filepath.Join(folder, name)] = drawing
	}
	if files[page], err = markdown(r); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(docs, name), data, 0o666); err != nil {
			return err
		}
	}
	return nil
}
