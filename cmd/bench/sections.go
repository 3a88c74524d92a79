package main

import (
	"fmt"
	"slices"
)

// system is one of those that take turns.
type system struct {
	name    string
	worker  *worker
	library string
	weights string
	sums    bool
}

const (
	openblas = "OpenBLAS f32"
	torch    = "PyTorch f32"
	torchBF  = "PyTorch bf16"
)

func medley(form string) string { return "Medley " + form }

// ownSystems are Medley's forms of weights on the cpu backend.
func (m *run) ownSystems() []system {
	var all []system
	for _, form := range m.results.Forms {
		all = append(all, system{name: medley(form), worker: m.ours, weights: form})
	}
	return all
}

// maps of a T5 1.1 block and its head, [out, in].
type linearMap struct {
	model, name string
	out, in     int
}

var linearMaps = []linearMap{
	{"base", "attention", 768, 768}, {"base", "wi", 2048, 768}, {"base", "wo", 768, 2048}, {"base", "head", 32128, 768},
	{"large", "attention", 1024, 1024}, {"large", "wi", 2816, 1024}, {"large", "wo", 1024, 2816}, {"large", "head", 32128, 1024},
}

// productRows are the rows of the products: one token of 20 sequences, a short example, one pass over five examples, 20 candidates of these.
var productRows = []int{20, 100, 760, 15200}

// mostHeadRows bounds the rows of the head, which only target tokens see.
const mostHeadRows = 760

func (m *run) products() error {
	systems := append(m.ownSystems(),
		system{name: openblas, worker: m.peer, library: "openblas", weights: "f32"},
		system{name: torch, worker: m.peer, library: "torch", weights: "f32"},
		system{name: torchBF, worker: m.peer, library: "torch", weights: "bf16"})
	var err error
	m.results.Products, err = m.productsOf(systems, 5)
	return err
}

func (m *run) productsOf(systems []system, rounds int) ([]productResult, error) {
	var all []productResult
	for _, rows := range productRows {
		for _, l := range linearMaps {
			if l.name == "head" && rows > mostHeadRows || m.c.Quick && (l.model == "large" || rows > 760) {
				continue
			}
			p := productResult{Model: l.model, Map: l.name, Rows: rows, Out: l.out, In: l.in}
			ask := request{Op: "product", Rows: rows, Out: l.out, In: l.in, For: 0.1}
			if err := m.turns(systems, m.rounds(rounds), ask, &p.Timings, nil); err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// turns asks every system in turn, round after round. each, if set, sees the answers.
func (m *run) turns(systems []system, rounds int, ask request, to *timings, each func(system, reply)) error {
	for range rounds {
		for _, s := range systems {
			ask.Library, ask.Weights, ask.Sums = s.library, s.weights, s.sums
			a, err := s.worker.ask(ask)
			if err != nil {
				return err
			}
			to.add(s.name, a.Seconds)
			if each != nil {
				each(s, a)
			}
		}
	}
	return nil
}

// evaluations scores candidates on the workloads. One of Medley's systems composes as the peer does, so that losses can be compared.
func (m *run) evaluations() error {
	own := append(m.ownSystems(), system{name: medley("f32, product"), worker: m.ours, weights: "f32", sums: true})
	peers := []system{{name: torch, worker: m.peer, weights: "f32"}, {name: torchBF, worker: m.peer, weights: "bf16"}}
	var err error
	m.results.Evaluations, err = m.evaluationsOf(own, peers)
	return err
}

func (m *run) evaluationsOf(own, peers []system) ([]evaluations, error) {
	var all []evaluations
	for _, w := range m.workloads {
		folders, err := w.folders()
		if err != nil {
			return nil, err
		}
		e := evaluations{Workload: w.name, Losses: map[string][]float64{}}
		every := candidates(batch, usedModules, usedModules)
		for range m.rounds(w.rounds) {
			for i, systems := range [][]system{own, peers} {
				ask := request{Op: "score", Base: w.base, Folders: folders, Examples: w.examples, Candidates: every}
				if i == 1 {
					ask.Candidates = every[:w.peerCandidates]
				}
				var spent timings
				if err := m.turns(systems, 1, ask, &spent, func(s system, a reply) { e.Losses[s.name] = a.Losses }); err != nil {
					return nil, err
				}
				for _, t := range spent {
					e.Timings.add(t.System, t.Rounds[0]/float64(len(ask.Candidates)))
				}
			}
		}
		all = append(all, e)
	}
	return all, nil
}

// size is what scaling sweeps.
type size struct {
	name   string
	values []int
	set    func(s *sizes, value int)
}

// sizes are those of one call.
type sizes struct{ candidates, examples, tokens, modules, rank int }

var middle = sizes{candidates: 4, examples: 4, tokens: 32, modules: 20, rank: 16}

var sweeps = []size{
	{"candidates", []int{1, 2, 4, 8, 16, 32, 64}, func(s *sizes, v int) { s.candidates = v }},
	{"examples", []int{1, 2, 4, 8, 16, 32, 64}, func(s *sizes, v int) { s.examples = v }},
	{"tokens of an input", []int{16, 32, 64, 128, 256, 512}, func(s *sizes, v int) { s.tokens = v }},
	{"modules", []int{1, 5, 20, 50, 100, 200}, func(s *sizes, v int) { s.modules = v }},
	{"rank", []int{4, 8, 16, 32, 64}, func(s *sizes, v int) { s.rank = v }},
}

// mostPeerTokens bounds a peer's call, which takes much longer.
const mostPeerTokens = 2048

func (s sizes) request(base string) request {
	return request{
		Op: "score", Base: base, Modules: s.modules, Rank: s.rank, Candidates: candidates(s.candidates, s.modules, s.modules),
		Lengths: slices.Repeat([]int{s.tokens}, s.examples),
	}
}

func (m *run) scaling() error {
	m.results.Scaling = nil
	for _, sweep := range sweeps {
		result := scaling{Size: sweep.name, Fixed: fmt.Sprintf("%+v", middle)}
		values := sweep.values
		if m.c.Quick {
			values = values[:3]
		}
		for _, v := range values {
			s := middle
			sweep.set(&s, v)
			systems := m.ownSystems()
			if sweep.name == "modules" {
				systems = append(systems, system{name: medley("f32, product"), worker: m.ours, weights: "f32", sums: true})
			}
			if s.candidates*s.examples*s.tokens <= mostPeerTokens {
				systems = append(systems, system{name: torch, worker: m.peer, weights: "f32"})
			}
			p := point{Value: v}
			if err := m.turns(systems, m.rounds(2), s.request(m.large()), &p.Timings, nil); err != nil {
				return err
			}
			result.Points = append(result.Points, p)
		}
		m.results.Scaling = append(m.results.Scaling, result)
	}
	return nil
}
