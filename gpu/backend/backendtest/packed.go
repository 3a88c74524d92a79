package backendtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/shared/checkpoint"
)

// Blocks makes a matrix of random blocks: integers of every value, scales of about 1/64 of either sign, and among them a few that only
// a denormal number of 16 bits holds, zeros too.
func Blocks(t testing.TB, kind checkpoint.DType, seed uint64, rows, cols int) backend.Packed {
	t.Helper()
	bytes, ok := checkpoint.PackedBytes(kind, cols)
	if !ok {
		t.Fatalf("%d columns of %s", cols, kind)
	}
	halves := map[checkpoint.DType][]int{
		checkpoint.Q40: {0}, checkpoint.Q41: {0, 2}, checkpoint.Q50: {0}, checkpoint.Q51: {0, 2}, checkpoint.Q80: {0},
		checkpoint.Q4K: {0, 2}, checkpoint.Q5K: {0, 2}, checkpoint.Q6K: {208},
	}
	r := rand.New(rand.NewPCG(seed, 9))
	p := backend.Packed{Type: kind, Rows: rows, Cols: cols, Data: make([]byte, rows*bytes)}
	for i := range p.Data {
		p.Data[i] = byte(r.Uint32())
	}
	one := bytes
	for _, elements := range []int{32, 256} {
		if n, ok := checkpoint.PackedBytes(kind, elements); ok {
			one = n
			break
		}
	}
	for at := 0; at < len(p.Data); at += one {
		for _, h := range halves[kind] {
			bits := uint16(0x2000 + r.IntN(0x800)) // 2^-7 to 2^-5
			if r.IntN(16) == 0 {
				bits = uint16(r.IntN(0x400))
			}
			binary.LittleEndian.PutUint16(p.Data[at+h:], bits|uint16(r.IntN(2))<<15)
		}
	}
	return p
}

func unpacked(p backend.Packed) []float32 {
	all := make([]float32, p.Rows*p.Cols)
	checkpoint.Unpack(p.Type, all, p.Data)
	return all
}

// packed is for backends that keep blocks of small integers: products with them are those with the numbers that they stand for.
func (s *suite) packed(t *testing.T) {
	packer := s.backend.(backend.Packer)
	for _, kind := range checkpoint.PackedTypes() {
		for i, n := range []struct{ rows, in, out int }{{1, 256, 1}, {1, 512, 65}, {7, 768, 33}, {97, 1280, 160}, {200, 256, 32}, {3, 1312, 40}} {
			if _, whole := checkpoint.PackedBytes(kind, n.in); !whole {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", kind, i), func(t *testing.T) {
				w := Blocks(t, kind, uint64(130+i), n.out, n.in)
				s.compare(t, s.tolerance.Update, func(m maker, p backend.Pass) []backend.Tensor {
					var matrix, table backend.Resident
					if own, ok := m.b.(backend.Packer); ok {
						table = m.keep(own.PackedTable(w))
					} else {
						table = m.keep(m.b.Table(unpacked(w), n.out, n.in))
					}
					if own, ok := m.b.(backend.Packer); ok && own.Packs(kind) {
						matrix = m.keep(own.PackedMatrix(w))
					} else {
						matrix = m.matrix(unpacked(w), n.out, n.in)
					}
					x := m.input(p, normal(140, n.rows*n.in), n.rows, n.in)
					u := &backend.Update{Factors: factors(m, n.in, n.out, 0.25, 5, 5), Segments: []backend.Segment{
						{Row1: n.rows, Product: i%2 == 0, Tokens: 4096, Terms: []backend.Term{{Weight: 1}, {Module: 1, Weight: -0.5}}}}}
					return []backend.Tensor{
						p.Linear(x, matrix, backend.Linear{}), p.Linear(x, matrix, backend.Linear{Update: u}), p.Embed(table, ids(141, 9, n.out)),
						p.LogProbs(p.Norm(x, m.keep(m.b.Vector(scaled(142, n.in, 0.05))), 1), matrix, ids(143, n.rows, n.out)),
					}
				})
			})
		}
	}
	good := Blocks(t, checkpoint.Q80, 1, 4, 64)
	for name, change := range map[string]func(*backend.Packed){
		"no type": func(p *backend.Packed) { p.Type = checkpoint.F32 }, "half a block": func(p *backend.Packed) { p.Cols = 48 },
		"data too short": func(p *backend.Packed) { p.Data = p.Data[:len(p.Data)-1] }, "a row too many": func(p *backend.Packed) { p.Rows = 5 },
		"no rows": func(p *backend.Packed) { p.Rows, p.Data = 0, nil }, "no columns": func(p *backend.Packed) { p.Cols = 0 },
	} {
		bad := good
		change(&bad)
		for i, upload := range []func(backend.Packed) (backend.Resident, error){packer.PackedMatrix, packer.PackedTable} {
			if r, err := upload(bad); err == nil {
				r.Free()
				t.Errorf("%s: uploaded by %d", name, i)
			}
		}
	}
	r, err := packer.PackedMatrix(good)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Free()
	if r.Bytes() < int64(len(good.Data)) {
		t.Errorf("%d bytes of blocks take %d", len(good.Data), r.Bytes())
	}
}
