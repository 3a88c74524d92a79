package webgpu

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/device"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/gpu/engine/enginetest"
	"github.com/medley-lora/medley/gpu/kernel"
	"github.com/medley-lora/medley/gpu/probe"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/zoo/zootest"
)

// spy is a device that can be smaller than it is, spoils programs, and counts what it is asked to do.
type spy struct {
	device.Device
	info          device.Info
	spoil         func(*device.Source)
	lists, steps  int
	reads         int
	writes        int
	readBytes     int64
	programsByRun map[string]int // steps, by the name of their program
	names         map[device.Program]string
}

func newSpy(t testing.TB) *spy {
	d := openDevice(t)
	return &spy{Device: d, info: d.Info(), programsByRun: map[string]int{}, names: map[device.Program]string{}}
}

func (s *spy) Info() device.Info { return s.info }

func (s *spy) NewProgram(source device.Source) (device.Program, error) {
	if s.spoil != nil {
		s.spoil(&source)
	}
	p, err := s.Device.NewProgram(source)
	if err == nil {
		s.names[p] = source.Name
	}
	return p, err
}

func (s *spy) Write(b device.Buffer, offset int64, data []byte) error {
	s.writes++
	return s.Device.Write(b, offset, data)
}

func (s *spy) Run(ctx context.Context, steps []device.Step) error {
	s.lists++
	s.steps += len(steps)
	for _, step := range steps {
		s.programsByRun[s.names[step.Program]]++
		for i, b := range step.Bindings {
			if bytes := max(b.Bytes, b.Buffer.Bytes()-b.Offset); b.Bytes == 0 && bytes > s.info.BindingBytes || b.Bytes > s.info.BindingBytes {
				return fmt.Errorf("%s: binding %d has %d bytes", s.names[step.Program], i, bytes)
			}
		}
	}
	return s.Device.Run(ctx, steps)
}

func (s *spy) Read(ctx context.Context, b device.Buffer, offset, bytes int64) ([]byte, error) {
	s.reads++
	s.readBytes += bytes
	return s.Device.Read(ctx, b, offset, bytes)
}

func (s *spy) forget() {
	s.lists, s.steps, s.reads, s.writes, s.readBytes = 0, 0, 0, 0, 0
	clear(s.programsByRun)
}

func normal(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 7))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// everything is a pass with every operation, of more rows, columns and modules than a small device takes at once.
func everything(t testing.TB, b backend.Backend) [][]float32 {
	t.Helper()
	const rows, in, out, heads, vocabulary, modules = 700, 96, 160, 3, 1000, 40
	w := must[backend.Resident](t)(b.Matrix(normal(1, out*in), out, in))
	head := must[backend.Resident](t)(b.Matrix(normal(2, vocabulary*in), vocabulary, in))
	table := must[backend.Resident](t)(b.Table(normal(3, vocabulary*in), vocabulary, in))
	gain := must[backend.Resident](t)(b.Vector(normal(4, in)))
	u := &backend.Update{Segments: []backend.Segment{{Row0: 3, Row1: 400}, {Row0: 400, Row1: 690, Product: true}}}
	for i := range modules {
		u.Factors = append(u.Factors, must[backend.Resident](t)(b.Factor(normal(uint64(10+i), 8*in), normal(uint64(60+i), out*8), 8, in, out, 0.5)))
		for s := range u.Segments {
			u.Segments[s].Terms = append(u.Segments[s].Terms, backend.Term{Module: i, Weight: float32(i%7-3) / 8})
		}
	}
	ids, targets := make([]int32, rows), make([]int32, rows)
	for i := range ids {
		ids[i], targets[i] = int32(i*37%vocabulary), int32((i*91+5)%vocabulary)
	}
	p := b.Begin(t.Context())
	defer p.End()
	x := p.Embed(table, ids)
	h := p.Norm(x, gain, 1e-6)
	y := p.Linear(h, w, backend.Linear{Update: u})
	a := backend.Attention{Heads: heads, Scale: 0.1, Causal: true, Bias: normal(5, 2*rows*heads), BiasZero: rows}
	for row := 5; row+70 < rows; row += 80 {
		a.Spans = append(a.Spans, backend.Span{Q0: row, Q1: row + 70, K0: rows - row - 70, K1: rows - row})
	}
	mixed := p.Attend(h, x, h, a)
	cache := p.Zeros(rows+100, in)
	to := make([]int32, rows)
	for i := range to {
		to[i] = int32((i*3 + 50) % (rows + 100))
	}
	p.Scatter(cache, mixed, to)
	around := make([]int32, rows+100)
	for i := range around {
		around[i] = int32((i + 1) % len(around))
	}
	p.Scatter(cache, cache, around)
	results := []backend.Tensor{x, h, y, mixed, cache, p.Gather(cache, to[:300]), p.Gate(backend.GELUNew, y, y), p.LogProbs(h, head, targets)}
	var all [][]float32
	for _, r := range results {
		all = append(all, must[[]float32](t)(p.Read(r)))
	}
	return all
}

// TestSmallDevice: what does not fit one binding is split, and the numbers stay. Only updates whose factors are in several slabs are
// summed in another order.
func TestSmallDevice(t *testing.T) {
	for _, tile := range tiles {
		t.Run(tile.String(), func(t *testing.T) {
			small := newSpy(t)
			small.info.BindingBytes, small.info.BufferBytes = 96<<10, 1<<20
			want := everything(t, open(t, openDevice(t), Options{Tile: tile}))
			b := open(t, small, Options{Tile: tile})
			got := everything(t, b)
			for i, tolerance := range []float64{0, 0, 1e-5, 0, 0, 0, 1e-5, 0} {
				if d := worst(got[i], want[i]); !(d <= tolerance) {
					t.Errorf("result %d is off by %.2g, tolerance %g", i, d, tolerance)
				}
			}
			if n := len(b.factors.slabs); n < 3 {
				t.Errorf("%d slabs; the test should need several", n)
			}
			for name, least := range map[string]int{"product": 6, "logsoftmax": 2, "rows": 10, "attend": 2, "down": 6, "up": 6, "fold": 2} {
				if n := small.programsByRun[name]; n < least {
					t.Errorf("%d steps of %s, want %d or more", n, name, least)
				}
			}
		})
	}
}

// worst is the largest difference relative to the largest number.
func worst(got, want []float32) float64 {
	difference, largest := float32(0), float32(1e-30)
	for i, w := range want {
		difference, largest = max(difference, got[i]-w, w-got[i]), max(largest, w, -w)
	}
	return float64(difference / largest)
}

func TestTooLarge(t *testing.T) {
	small := newSpy(t)
	small.info.BindingBytes, small.info.BufferBytes = 64<<10, 128<<10
	b := open(t, small, Options{})
	if _, err := b.Matrix(make([]float32, 100000), 1, 100000); fault.CodeOf(err) != fault.TooLarge {
		t.Errorf("a matrix with a column beyond a binding: %v", err)
	}
	if _, err := b.Table(make([]float32, 100000), 1, 100000); fault.CodeOf(err) != fault.TooLarge {
		t.Errorf("a row beyond a binding: %v", err)
	}
	if _, err := b.Factor(make([]float32, 100000), make([]float32, 1), 1, 100000, 1, 1); fault.CodeOf(err) != fault.TooLarge {
		t.Errorf("a factor beyond a binding: %v", err)
	}
	for name, call := range map[string]func(p backend.Pass) backend.Tensor{
		"tensor":    func(p backend.Pass) backend.Tensor { return p.Zeros(9, 4096) },
		"absurd":    func(p backend.Pass) backend.Tensor { return p.Zeros(1<<40, 1<<40) },
		"wide rows": func(p backend.Pass) backend.Tensor { return p.Gate(backend.ReLU, p.Zeros(1, 400), nil) },
		"keys": func(p backend.Pass) backend.Tensor {
			x := p.Zeros(500, 64)
			return p.Attend(x, x, x, backend.Attention{Heads: 1, Spans: []backend.Span{{Q1: 500, K1: 500}}})
		},
	} {
		p := b.Begin(t.Context())
		if _, err := p.Read(call(p)); fault.CodeOf(err) != fault.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
		p.End()
	}
}

// TestGolden holds the zoo on this backend to the numbers of PyTorch: log-probabilities within the tolerance, greedy answers exactly.
func TestGolden(t *testing.T) {
	for _, c := range []struct {
		options   Options
		tolerance float64
	}{
		{Options{Tile: tiles[0]}, 1e-3},
		{Options{Tile: tiles[1]}, 1e-3},
		{Options{Storage: kernel.F16}, 2e-2}, // weights are off by up to 2^-11, and log-probabilities go to some tens
	} {
		t.Run(fmt.Sprintf("%s %s", c.options.Storage, c.options.Tile.Form), func(t *testing.T) {
			z := enginetest.Open(t, open(t, openDevice(t), c.options), engine.Options{})
			t.Run("forward", func(t *testing.T) { z.Forward(t, c.tolerance) })
			t.Run("variants", func(t *testing.T) { z.Variants(t, c.tolerance) })
		})
	}
}

// TestGoldenCausal is the same for decoder-only models.
func TestGoldenCausal(t *testing.T) {
	b := open(t, openDevice(t), Options{})
	t.Cleanup(func() { b.Close() })
	enginetest.Causal(t, b, 1e-3)
}

// TestStepsOfScore: a whole forward pass is one list of steps, one write of tables and one small readback.
func TestStepsOfScore(t *testing.T) {
	s := newSpy(t)
	z := enginetest.Open(t, open(t, s, Options{}), engine.Options{})
	f := zootest.LoadGolden(t).Forward[0]
	examples := z.EncodeGolden(f.Examples)
	module := z.Module(t, "modules", "plural")
	c := []engine.Composition{{Terms: []backend.Term{{Module: module, Weight: 1}}}, {Terms: []backend.Term{{Module: module, Weight: 0.5}}}}
	targets := 0
	for _, x := range examples {
		targets += 2 * len(x.Target)
	}
	s.forget()
	if _, err := z.Score(t.Context(), examples, c); err != nil {
		t.Fatal(err)
	}
	if s.lists != 1 || s.writes != 1 || s.reads != 1 || s.readBytes != int64(16*targets) || s.steps > 150 {
		t.Errorf("%d lists of %d steps in all, %d writes, %d reads of %d bytes; want one list of at most 150 steps, one write, one read of %d",
			s.lists, s.steps, s.writes, s.reads, s.readBytes, 16*targets)
	}
}

// TestSelfTestRefuses spoils each program in turn: the self-test must name the first operation that is wrong.
func TestSelfTestRefuses(t *testing.T) {
	for _, c := range []struct{ program, from, to, operation string }{
		{"rows", "row_x * p.stride4", "(row_x ^ 1u) * p.stride4", "embedding"},
		{"norm", "p.width +", "p.width * 1.01 +", "norm"},
		{"down", "dot(u_1, v_2)", "dot(u_1, v_1)", "low-rank update"},
		{"up", "coefficient * h[", "h[", "low-rank update"},
		{"fold", "t < terms", "t < terms - 1u", "low-rank product"},
		{"attend", "s += vec4<f32>(dot", "s = vec4<f32>(dot", "attention"},
		{"attend", "tables[at + 4u] + row)", "tables[at + 3u])", "causal attention"},
		{"product", "sum_1_0 = fma", "sum_1_0 = 0.999 * fma", "low-rank update"},
		{"gate", "0.044715", "0.04", "gelu"},
		{"logsoftmax", "i += 64u", "i += 65u", ""}, // one tile of so small a head: nothing changes
		{"logsoftmax", "chosen[row] -", "chosen[row] * 1.001 -", "log-probabilities"},
	} {
		t.Run(c.program+" "+c.to, func(t *testing.T) {
			s := newSpy(t)
			found := false
			s.spoil = func(source *device.Source) {
				if source.Name == c.program && strings.Contains(source.WGSL, c.from) {
					source.WGSL, found = strings.ReplaceAll(source.WGSL, c.from, c.to), true
				}
			}
			_, err := probe.SelfTest(t.Context(), open(t, s, Options{}), 0)
			if !found {
				t.Fatalf("%s has no %q", c.program, c.from)
			}
			if c.operation == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
			} else if err == nil || !strings.HasPrefix(err.Error(), c.operation+":") {
				t.Errorf("error %v, want one that names %s", err, c.operation)
			}
		})
	}
}

// TestFreeWhileRecorded: what a pass has recorded still runs after its residents are freed, and their memory is not given to others
// before it has been queued.
func TestFreeWhileRecorded(t *testing.T) {
	b := open(t, openDevice(t), Options{})
	run := func(free bool) []float32 {
		w := must[backend.Resident](t)(b.Matrix(normal(1, 32*32), 32, 32))
		x := must[backend.Resident](t)(b.Table(normal(2, 32*5), 5, 32))
		f := must[backend.Resident](t)(b.Factor(normal(3, 4*32), normal(4, 4*32), 4, 32, 32, 1))
		p := b.Begin(t.Context())
		defer p.End()
		y := p.Linear(p.Embed(x, []int32{0, 1, 2, 3, 4}), w, backend.Linear{Update: &backend.Update{
			Factors: []backend.Resident{f}, Segments: []backend.Segment{{Row1: 5, Terms: []backend.Term{{Weight: 1}}}},
		}})
		if free {
			w.Free()
			x.Free()
			f.Free()
			f.Free()
			must[backend.Resident](t)(b.Factor(normal(5, 4*32), normal(6, 4*32), 4, 32, 32, 1))
		}
		return must[[]float32](t)(p.Read(y))
	}
	if d := worst(run(true), run(false)); d != 0 {
		t.Errorf("off by %g", d)
	}
	p := b.Begin(t.Context())
	defer p.End()
	w := must[backend.Resident](t)(b.Matrix(normal(1, 4), 2, 2))
	w.Free()
	if _, err := p.Read(p.Linear(p.Zeros(1, 2), w, backend.Linear{})); fault.CodeOf(err) != fault.Internal {
		t.Errorf("a freed matrix: %v", err)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(openDevice(t), Options{Storage: "f8"}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("unknown storage: %v", err)
	}
	s := newSpy(t)
	s.info.WorkgroupInvocations = 32
	if _, err := New(s, Options{}); fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("a device too small: %v", err)
	}
	if _, err := New(s, Options{Tile: kernel.Tiles[0]}); fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("a tile too large: %v", err)
	}
	b := open(t, openDevice(t), Options{})
	info := b.Info()
	if info.Name != "webgpu" || b.info.Software != strings.HasSuffix(info.Device, "(software)") || !strings.HasPrefix(info.Device, b.info.Adapter) {
		t.Errorf("info %+v", info)
	}
	big := make([]float32, 8)
	big[3] = 70000
	if _, err := open(t, openDevice(t), Options{Storage: kernel.F16}).Matrix(big, 2, 4); fault.CodeOf(err) != fault.Unsupported {
		t.Errorf("70000 in f16: %v", err)
	}
}
