//go:build js

package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"syscall/js"
	"time"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
)

// composeModules is medley.compose.
func composeModules(args []js.Value) (any, error) {
	var options struct {
		Method lora.Method
		Rank   int
		Base   string
	}
	if err := decode("options", argument(args, 1), &options); err != nil {
		return nil, err
	}
	modules, weights, err := load(argument(args, 0))
	if err != nil {
		return nil, err
	}
	o := lora.Options{Rank: options.Rank}
	composed, err := lora.Compose(options.Method, modules, weights, o)
	if err != nil {
		return nil, err
	}
	files, err := peft.Encode(composed, peft.WriteOptions{TaskType: "SEQ_2_SEQ_LM", BaseModel: options.Base})
	if err != nil {
		return nil, err
	}
	written, err := read(files)
	if err != nil {
		return nil, fault.In("reading back", err)
	}
	_, total, err := lora.Difference(written, options.Method, modules, weights, o)
	if err != nil {
		return nil, err
	}
	rank := 0
	for _, l := range written.Layers {
		rank = max(rank, l.Rank)
	}
	packed, err := pack(files)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(packed)
	return map[string]any{
		"archive": typed(packed), "sha256": hex.EncodeToString(sum[:]), "rank": rank,
		"difference": map[string]any{"max_abs": total.MaxAbs, "relative": finite(total.Relative)},
	}, nil
}

// load reads the modules of a list [{files, weight}].
func load(list js.Value) (modules []*lora.Adapter, weights []float64, err error) {
	n, err := length("modules", list)
	if err != nil {
		return nil, nil, err
	}
	for i := range n {
		item := list.Index(i)
		weight, err := vector("weight", js.ValueOf([]any{item.Get("weight")}))
		if err != nil {
			return nil, nil, err
		}
		folder, err := newFolder(item.Get("files"))
		if err != nil {
			return nil, nil, err
		}
		module, err := peft.OpenFS(folder, "module", peft.OpenOptions{})
		if err != nil {
			return nil, nil, err
		}
		adapter, err := module.Load()
		if err != nil {
			return nil, nil, err
		}
		modules, weights = append(modules, adapter), append(weights, weight[0])
	}
	return modules, weights, nil
}

// read is the adapter that files hold.
func read(files map[string][]byte) (*lora.Adapter, error) {
	object := js.Global().Get("Object").New()
	for path, data := range files {
		object.Set(path, typed(data))
	}
	folder, err := newFolder(object)
	if err != nil {
		return nil, err
	}
	module, err := peft.OpenFS(folder, "adapter", peft.OpenOptions{})
	if err != nil {
		return nil, err
	}
	return module.Load()
}

// pack is a zip archive of the files. They are stored: weights hardly get smaller.
func pack(files map[string][]byte) ([]byte, error) {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		entry, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, name, "cannot be packed")
		}
		if _, err := entry.Write(files[name]); err != nil {
			return nil, fault.Wrap(err, fault.Internal, name, "cannot be packed")
		}
	}
	if err := z.Close(); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "archive", "cannot be packed")
	}
	return packed.Bytes(), nil
}

// typed copies bytes to JavaScript.
func typed(data []byte) js.Value {
	a := js.Global().Get("Uint8Array").New(len(data))
	js.CopyBytesToJS(a, data)
	return a
}

func finite(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}
