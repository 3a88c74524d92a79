package main

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// scores is an answer with scores.
type scores struct {
	Scores []struct {
		Loss float64 `json:"loss"`
	} `json:"scores"`
}

// batches are the requests of several clients.
type batches struct {
	evaluations []string
	weights     [][][]float64 // by client and request
}

// clients opens an evaluation for each client, and makes up what it asks.
func (w *cluster) clients(ctx context.Context, clients, each, round int) (*batches, error) {
	random := rand.New(rand.NewPCG(1, uint64(round))) //nolint:gosec // the same in every run
	b := &batches{}
	for range clients {
		var made struct{ ID string }
		if err := w.call(ctx, "POST", "/v1/evaluations", w.task(len(w.modules)), &made); err != nil {
			return nil, err
		}
		b.evaluations = append(b.evaluations, made.ID)
		var asked [][]float64
		for range each {
			weights := make([]float64, len(w.modules))
			for i := range weights {
				weights[i] = random.Float64()*2 - 1
			}
			asked = append(asked, weights)
		}
		b.weights = append(b.weights, asked)
	}
	return b, nil
}

// score asks everything, with all clients at once or one after the other, and returns the seconds that it took and the losses.
func (b *batches) score(ctx context.Context, w *cluster, atOnce bool) (seconds float64, losses []float64, err error) {
	each := len(b.weights[0])
	losses = make([]float64, len(b.evaluations)*each)
	errs := make([]error, len(b.evaluations))
	var all sync.WaitGroup
	begun := time.Now()
	for i := range b.evaluations {
		one := func() {
			for k, weights := range b.weights[i] {
				var answer scores
				errs[i] = w.call(ctx, "POST", "/v1/evaluations/"+b.evaluations[i]+"/scores", map[string]any{"weights": [][]float64{weights}}, &answer)
				if errs[i] != nil {
					return
				}
				losses[i*each+k] = answer.Scores[0].Loss
			}
		}
		if atOnce {
			all.Go(one)
		} else {
			one()
		}
	}
	all.Wait()
	seconds = time.Since(begun).Seconds()
	for _, err := range errs {
		if err != nil {
			return 0, nil, err
		}
	}
	return seconds, losses, nil
}

// question is the same answer asked of the gateway and of the bare handler.
type question struct {
	gateway, bare []byte // requests
	bytes         int    // of the answer
}

// remembered has a score remembered, and its bytes put where the bare handler reads them.
func (w *cluster) remembered(ctx context.Context) (q question, err error) {
	var made struct{ ID string }
	if err := w.call(ctx, "POST", "/v1/evaluations", w.task(len(w.modules)), &made); err != nil {
		return q, err
	}
	weights := make([]float64, len(w.modules))
	for i := range weights {
		weights[i] = float64(i%5)/4 - 0.5
	}
	body, err := json.Marshal(map[string]any{"weights": [][]float64{weights}})
	if err != nil {
		return q, err
	}
	path := "/v1/evaluations/" + made.ID + "/scores"
	var answer json.RawMessage
	if err := w.call(ctx, "POST", path, json.RawMessage(body), &answer); err != nil {
		return q, err
	}
	if err := w.cache.Set(ctx, bareKey, []byte(answer), 0).Err(); err != nil {
		return q, err
	}
	return question{
		gateway: requestBytes(w.gateway.address, path, w.token, body), bare: requestBytes(w.bare.address, "/", w.token, body), bytes: len(answer),
	}, nil
}

// largeAdapter is a zip archive of an adapter with a gigabyte of zeros: 128 layers of rank 256 on maps of width 4096. It is made while it
// is read.
func largeAdapter() (archive io.Reader, size int64, err error) {
	const layers, rank, width = 128, 256, 4096
	header := map[string]any{}
	at := 0
	for i := range layers {
		for half, shape := range map[string][]int{"lora_A": {rank, width}, "lora_B": {width, rank}} {
			name := fmt.Sprintf("base_model.model.encoder.block.%d.layer.0.SelfAttention.q.%s.weight", i, half)
			header[name] = map[string]any{"dtype": "F32", "shape": shape, "data_offsets": []int{at, at + 4*rank*width}}
			at += 4 * rank * width
		}
	}
	head, err := json.Marshal(header)
	if err != nil {
		return nil, 0, err
	}
	config, err := json.Marshal(map[string]any{
		"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": []string{"q"}, "base_model_name_or_path": "bench", "bias": "none",
	})
	if err != nil {
		return nil, 0, err
	}
	r, w := io.Pipe()
	go func() {
		z := zip.NewWriter(w)
		err := storeFile(z, "adapter_config.json", config, 0)
		if err == nil {
			err = storeFile(z, "adapter_model.safetensors", append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...), at)
		}
		if err == nil {
			err = z.Close()
		}
		w.CloseWithError(err) // it returns nil
	}()
	return r, int64(len(config) + 8 + len(head) + at), nil
}

// storeFile writes a file of begin and so many zeros.
func storeFile(z *zip.Writer, name string, begin []byte, zeros int) error {
	f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		return err
	}
	if _, err := f.Write(begin); err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for ; zeros > 0; zeros -= len(block) {
		if _, err := f.Write(block[:min(len(block), zeros)]); err != nil {
			return fault.Wrap(err, fault.Internal, name, "cannot be sent")
		}
	}
	return nil
}
