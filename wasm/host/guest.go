package host

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strconv"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// Guest is an optimizer in the sandbox: one instance for one search. When it dies, Ask and Tell return why, always the same error, and
// Best returns the best candidate told.
type Guest struct {
	in     *instance
	info   Info
	ledger ledger
}

var _ search.Optimizer = (*Guest)(nil)

// config is what opt_create is told. A guest ignores what it does not know.
type config struct {
	Dim     int               `json:"dim"`
	Budget  int               `json:"budget"`
	Batch   int               `json:"batch"`
	Seed    string            `json:"seed"` // JSON's numbers do not hold 64 bits
	Lower   []float64         `json:"lower"`
	Upper   []float64         `json:"upper"`
	Init    []float64         `json:"init"` // zero, or the bound nearest to it
	L1      float64           `json:"l1"`
	Aux     int               `json:"aux"`              // log-probabilities that a score carries; 0 if none, or not known
	Groups  []int             `json:"groups,omitempty"` // how many of them belong to each example, in order
	Options map[string]string `json:"options"`
}

func newConfig(p search.Problem, options map[string]string) config {
	c := config{
		Dim: p.Dim, Budget: p.Budget, Batch: p.Batch, Seed: strconv.FormatUint(p.Seed, 10), Lower: p.Lower, Upper: p.Upper,
		Init: make([]float64, p.Dim), L1: p.L1, Groups: p.Groups, Options: options,
	}
	for i := range c.Init {
		c.Init[i] = min(max(0, p.Lower[i]), p.Upper[i])
	}
	for _, n := range p.Groups {
		c.Aux += n
	}
	if options == nil {
		c.Options = map[string]string{}
	}
	return c
}

// New starts a guest on a problem. Options are the guest's own; one that it does not know is its to refuse. ctx is the guest's life: when
// it ends, a call under way ends within a millisecond or so with fault.Canceled, and so do later ones.
func (m *Module) New(ctx context.Context, p search.Problem, options map[string]string) (*Guest, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if m.info.MaxDim > 0 && p.Dim > m.info.MaxDim {
		return nil, fault.New(fault.Unsupported, "dim", "%s takes up to %d weights, got %d", m.info.Name, m.info.MaxDim, p.Dim)
	}
	text, err := json.Marshal(newConfig(p, options))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, field, "cannot be told its problem")
	}
	in, err := m.instantiate(ctx, p.Seed)
	if err != nil {
		return nil, err
	}
	g := &Guest{in: in, info: m.info, ledger: ledger{search.NewLedger(p)}}
	err = in.lend(len(text), func(at uint32) error {
		if err := in.write(at, text); err != nil {
			return err
		}
		result, err := in.call("opt_create", in.state.limits.Start, uint64(at), uint64(len(text)))
		if err != nil || int32(result) >= 0 {
			return err
		}
		return in.refusal("opt_create", int32(result))
	})
	if err != nil {
		in.close()
		return nil, err
	}
	return g, nil
}

// Info returns what the guest says of itself.
func (g *Guest) Info() Info { return g.info }

// Err returns why the guest is dead, or nil.
func (g *Guest) Err() error { return g.in.dead }

// Close ends the guest.
func (g *Guest) Close() error {
	g.in.close()
	return nil
}

// Ask returns at most n candidates; fewer than the guest would make if they fill a quarter of the memory that it may have.
func (g *Guest) Ask(n int) ([][]float64, error) {
	if g.in.dead != nil {
		return nil, g.in.dead
	}
	k, err := g.ledger.Room(n)
	if err != nil || k == 0 {
		return nil, err
	}
	size := 8 * g.ledger.Problem.Dim
	k = min(k, max(1, int(g.in.state.limits.MemoryPages)<<14/size))
	var x [][]float64
	err = g.in.lend(k*size, func(at uint32) error {
		result, err := g.in.call("opt_ask", g.in.state.limits.Call, uint64(at), uint64(k))
		if err != nil {
			return err
		}
		x, err = g.asked(at, int32(result), k)
		return err
	})
	if err != nil {
		return nil, err
	}
	g.ledger.ask(x)
	return x, nil
}

// asked reads and checks j candidates of at most k.
func (g *Guest) asked(at uint32, j int32, k int) ([][]float64, error) {
	if j < 0 {
		return nil, g.in.refusal("opt_ask", j)
	}
	if int(j) > k {
		return nil, g.in.broke("opt_ask returned %d candidates when asked for %d", j, k)
	}
	dim := g.ledger.Problem.Dim
	all, err := g.in.floats(at, int(j)*dim)
	if err != nil {
		return nil, err
	}
	x := make([][]float64, 0, j)
	for c := range slices.Chunk(all, dim) {
		if wrong, weight := g.ledger.fit(c); wrong != "" {
			return nil, g.in.broke("opt_ask proposed a candidate whose weight %d is %s", weight, wrong)
		}
		x = append(x, slices.Clip(c))
	}
	return x, nil
}

// Tell gives the guest objectives, and log-probabilities if it wants them.
func (g *Guest) Tell(x [][]float64, s []search.Score) error {
	if g.in.dead != nil {
		return g.in.dead
	}
	if err := g.ledger.Check(x, s); err != nil || len(x) == 0 {
		return err
	}
	m := 0
	if g.info.WantsAux {
		for i := range s {
			m = max(m, len(s[i].LogProbs))
		}
	}
	k, dim := len(x), g.ledger.Problem.Dim
	b := make([]byte, 0, 8*k*(dim+1+m))
	for i := range x {
		b = appendFloats(b, x[i])
	}
	for i := range s {
		b = appendFloats(b, []float64{s[i].Objective})
	}
	for i := range s {
		b = appendFloats(b, logProbs(s[i], m))
	}
	err := g.in.lend(len(b), func(at uint32) error {
		if err := g.in.write(at, b); err != nil {
			return err
		}
		f := at + uint32(8*k*dim)
		aux := uint64(f + uint32(8*k))
		if m == 0 {
			aux = 0
		}
		result, err := g.in.call("opt_tell", g.in.state.limits.Call, uint64(at), uint64(f), uint64(k), aux, uint64(m))
		if err != nil || int32(result) >= 0 {
			return err
		}
		return g.in.refusal("opt_tell", int32(result))
	})
	if err == nil {
		g.ledger.tell(x, s)
	}
	return err
}

// logProbs returns m log-probabilities of a score, NaN where there are none.
func logProbs(s search.Score, m int) []float64 {
	if len(s.LogProbs) == m {
		return s.LogProbs
	}
	row := make([]float64, m)
	for i := range row {
		row[i] = math.NaN()
	}
	return row
}

func appendFloats(b []byte, v []float64) []byte {
	for _, f := range v {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
	}
	return b
}

// Best returns what the guest chooses, or the best candidate told if the guest has no choice or is dead.
func (g *Guest) Best() []float64 {
	if g.ledger.Lowest == nil || g.in.dead != nil {
		return slices.Clone(g.ledger.Lowest)
	}
	dim := g.ledger.Problem.Dim
	best := slices.Clone(g.ledger.Lowest)
	err := g.in.lend(8*(dim+1), func(at uint32) error {
		result, err := g.in.call("opt_best", g.in.state.limits.Call, uint64(at), uint64(at+uint32(8*dim)))
		if err != nil {
			return err
		}
		const observed, predicted = 1, 2
		switch j := int32(result); {
		case j < 0:
			return g.in.refusal("opt_best", j)
		case j == 0:
			return nil
		case j != observed && j != predicted:
			return g.in.broke("opt_best returned %d", j)
		}
		chosen, err := g.in.floats(at, dim)
		if err != nil {
			return err
		}
		if wrong, weight := g.ledger.fit(chosen); wrong != "" {
			return g.in.broke("opt_best chose a candidate whose weight %d is %s", weight, wrong)
		}
		best = chosen
		return nil
	})
	if err != nil {
		_ = g.in.end(err) // there is nobody to return it to: Err has it
		return slices.Clone(g.ledger.Lowest)
	}
	return best
}
