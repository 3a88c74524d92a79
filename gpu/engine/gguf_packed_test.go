package engine_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/backend/backendtest"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/task"
)

// ggufNumbers are the file's numbers for types.
var ggufNumbers = map[checkpoint.DType]uint32{
	checkpoint.F32: 0, checkpoint.Q50: 6, checkpoint.Q51: 7, checkpoint.Q80: 8, checkpoint.Q4K: 12, checkpoint.Q5K: 13, checkpoint.Q6K: 14,
}

// writeMixed makes a file of the kinds that one named Q4_K_M holds, random blocks for the weights: the values of testdata/causal/llama2.gguf, but
// of one layer of another width. It returns what its linear maps take.
func writeMixed(t *testing.T, path string) (packed int64) {
	t.Helper()
	const width, inner, tokens = 256, 512, 652
	whole, err := os.ReadFile(filepath.Join("testdata", "causal", "llama2.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	values, _, found := bytes.Cut(whole[24:], []byte("\x0d\x00\x00\x00\x00\x00\x00\x00output.weight")) // the first tensor
	for key, v := range map[string]uint32{"llama.embedding_length": width, "llama.feed_forward_length": inner, "llama.block_count": 1} {
		at := bytes.Index(values, []byte(key))
		if !found || at < 0 {
			t.Fatalf("the file does not hold %s", key)
		}
		binary.LittleEndian.PutUint32(values[at+len(key)+4:], v)
	}
	order := binary.LittleEndian
	var header, data []byte
	count := 0
	add := func(name string, kind checkpoint.DType, content []byte, shape ...int) {
		header = append(order.AppendUint64(header, uint64(len(name))), name...)
		header = order.AppendUint32(header, uint32(len(shape)))
		for i := range shape {
			header = order.AppendUint64(header, uint64(shape[len(shape)-1-i]))
		}
		header = order.AppendUint64(order.AppendUint32(header, ggufNumbers[kind]), uint64(len(data)))
		data = append(data, content...)
		data = append(data, make([]byte, -len(data)&31)...)
		count++
	}
	for i, w := range []struct {
		name       string
		kind       checkpoint.DType
		rows, cols int
	}{
		{"token_embd", checkpoint.Q6K, tokens, width}, {"output", checkpoint.Q6K, tokens, width}, {"blk.0.attn_q", checkpoint.Q4K, width, width}, {"blk.0.attn_k", checkpoint.Q5K, width, width},
		{"blk.0.attn_v", checkpoint.Q50, width, width}, {"blk.0.attn_output", checkpoint.Q51, width, width}, {"blk.0.ffn_gate", checkpoint.Q4K, inner, width},
		{"blk.0.ffn_up", checkpoint.Q80, inner, width}, {"blk.0.ffn_down", checkpoint.Q6K, width, inner},
	} {
		blocks := backendtest.Blocks(t, w.kind, uint64(i), w.rows, w.cols)
		if add(w.name+".weight", w.kind, blocks.Data, w.rows, w.cols); i > 0 { // a table stays where it is
			packed += int64(len(blocks.Data))
		}
	}
	// Blocks hold numbers up to some tens: gains make what is attended to, and the logits, of the size that a model has.
	for name, gain := range map[string]float32{"blk.0.attn_norm.weight": 0.003, "blk.0.ffn_norm.weight": 0.01, "output_norm.weight": 0.003} {
		var vector []byte
		for range width {
			vector = order.AppendUint32(vector, math.Float32bits(gain))
		}
		add(name, checkpoint.F32, vector, width)
	}
	file := append(order.AppendUint64(append([]byte(nil), whole[:8]...), uint64(count)), whole[16:24]...)
	file = append(append(file, values...), header...)
	file = append(append(file, make([]byte, -len(file)&31)...), data...)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return packed
}

// TestMixedBlocks: a file of several kinds of blocks takes in memory what it takes on disk, and says what it says where all of it becomes f32.
func TestMixedBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mixed.gguf")
	packed := writeMixed(t, path)
	b := backends["cpu"](t)
	defer b.Close()
	score := func(b backend.Backend) ([]float64, int64) {
		e, err := engine.Open(t.Context(), path, b, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		examples, _ := e.Encode([]task.Example{{Input: "one berry , several", Output: "berries"}, {Input: "two cats , one", Output: "cat"}})
		scores, err := e.Score(t.Context(), examples, []engine.Composition{{}})
		if err != nil {
			t.Fatal(err)
		}
		return logProbs(scores), e.Model().Bytes()
	}
	got, taken := score(b)
	want, whole := score(struct{ backend.Backend }{b}) // which packs nothing
	if share := float64(taken) / float64(packed); share > 1.06 || share < 1 || whole < 4*taken {
		t.Errorf("blocks of %d bytes take %d, as f32 %d", packed, taken, whole)
	}
	if len(got) != len(want) || len(got) < 4 {
		t.Fatalf("%d numbers, want %d", len(got), len(want))
	}
	for i, w := range want {
		if d := math.Abs(got[i] - w); !(d < tolerance*max(1, math.Abs(w))) {
			t.Errorf("log-probability %d is %g, in f32 %g", i, got[i], w)
		}
	}
}

// A scale that is no number is found when the file is loaded, and the tensor named.
func TestMixedBlocksDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mixed.gguf")
	writeMixed(t, path)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	down := backendtest.Blocks(t, checkpoint.Q6K, 8, 256, 512).Data
	at := bytes.Index(whole, down)
	if at < 0 {
		t.Fatal("the blocks are not in the file")
	}
	binary.LittleEndian.PutUint16(whole[at+2*210-2:], 0x7c00) // of the second block
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	b := backends["cpu"](t)
	defer b.Close()
	_, err = engine.Open(t.Context(), path, b, engine.Options{})
	if fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "mlp.down_proj") || !strings.Contains(err.Error(), "block 1 of Q6_K has a scale of +Inf") {
		t.Errorf("%v", err)
	}
}
