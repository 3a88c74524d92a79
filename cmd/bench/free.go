package main

import (
	"fmt"
	"slices"
)

// freeCall is one case of a cost that should be zero.
type freeCall struct {
	name  string
	ask   request
	peers bool // the peer takes part
}

// freeQuestion is what its cases have in common; each should take as long as the first.
type freeQuestion struct {
	question string
	calls    []freeCall
}

// free measures what should cost nothing.
func (m *run) free() error {
	m.results.Free = nil
	for _, q := range m.freeQuestions() {
		result := free{Question: q.question}
		for _, c := range q.calls {
			result.Cases = append(result.Cases, freeCase{Name: c.name})
		}
		for range m.rounds(5) {
			for i, c := range q.calls {
				at := &result.Cases[i]
				if err := m.turns([]system{{name: medley("f32"), worker: m.ours, weights: "f32"}}, 1, c.ask, &at.Timings, func(_ system, a reply) {
					if at.Resident == 0 { // later rounds find what the allocator has kept of larger cases
						at.Resident = a.Resident
					}
				}); err != nil {
					return err
				}
				if !c.peers {
					continue
				}
				if err := m.turns([]system{{name: torch, worker: m.peer, weights: "f32"}}, 1, c.ask, &at.Timings, nil); err != nil {
					return err
				}
			}
		}
		m.results.Free = append(m.results.Free, result)
	}
	return nil
}

func (m *run) freeQuestions() []freeQuestion {
	base := m.large()
	most := 1000
	if m.c.Quick {
		most = 20
	}
	const used, rank = 5, 4
	plain := request{Op: "score", Base: base, Modules: used, Rank: rank, Candidates: candidates(4, used, used), Lengths: slices.Repeat([]int{32}, 4)}
	with := func(more int, upload bool) request {
		r := plain
		r.Modules, r.Candidates, r.Upload = used+more, candidates(4, used+more, used), upload
		return r
	}
	listed := freeQuestion{question: "Modules that are listed and that no candidate uses"}
	uploaded := freeQuestion{question: "Modules that are on the backend and that no candidate uses"}
	for _, more := range []int{0, most / 10, most} {
		name := fmt.Sprintf("%d used, %d not", used, more)
		listed.calls = append(listed.calls, freeCall{name: name, ask: with(more, false)})
		uploaded.calls = append(uploaded.calls, freeCall{name: name, ask: with(more, true)})
	}
	return []freeQuestion{listed, uploaded, others(plain), padding(plain)}
}

// others compares candidates that share their modules with candidates that have modules of their own.
func others(plain request) freeQuestion {
	const each = 5
	shared, own := plain, plain
	own.Modules = each * len(plain.Candidates)
	own.Candidates = make([][]float64, len(plain.Candidates))
	for i, w := range plain.Candidates {
		own.Candidates[i] = make([]float64, own.Modules)
		copy(own.Candidates[i][each*i:], w)
	}
	return freeQuestion{question: "Modules that other candidates of the batch use", calls: []freeCall{
		{name: fmt.Sprintf("%d candidates, all over the same %d modules", len(shared.Candidates), each), ask: shared},
		{name: fmt.Sprintf("%d candidates, each over %d modules of its own", len(own.Candidates), each), ask: own},
	}}
}

// padding compares examples of one length with ragged ones, as many tokens in all.
func padding(plain request) freeQuestion {
	equal, ragged := plain, plain
	equal.Lengths = slices.Repeat([]int{64}, 8)
	ragged.Lengths = []int{8, 16, 24, 32, 40, 56, 80, 256}
	return freeQuestion{question: "Padding: examples of unequal length", calls: []freeCall{
		{name: "8 inputs of 64 tokens", ask: equal, peers: true},
		{name: "8 inputs of 8 to 256 tokens, 512 in all", ask: ragged, peers: true},
	}}
}
