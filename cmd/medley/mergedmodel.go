package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/adapters"
	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// mergedModel describes a model that was written with an update in its weights.
type mergedModel struct {
	Parameters int64              `json:"parameters"`
	Bytes      int64              `json:"bytes"`    // of the tensors
	Types      []string           `json:"types"`    // of the updated maps
	Rounding   compose.Difference `json:"rounding"` // what the types of the weights lost of the update, as read back
}

func (m *mergedModel) inWords() string {
	if slices.Equal(m.Types, []string{"F32"}) {
		return fmt.Sprintf("The weights are F32; rounding changed them by at most %.1e.", m.Rounding.MaxAbs)
	}
	return fmt.Sprintf("The weights stay %s, as the base's: rounding changed them by at most %.1e and lost %.2g %% of the update.",
		strings.Join(m.Types, " and "), m.Rounding.MaxAbs, 100*float64(m.Rounding.Relative))
}

func (c *mergeCommand) mergeIntoBase(a *app, out *mergeOutput, base *baseFolder, all []*lora.Adapter, weights []float64, o lora.Options) error {
	update, err := lora.Compose(out.Method, all, weights, o)
	if err != nil {
		return err
	}
	_, total, err := lora.Difference(update, out.Method, all, weights, o)
	if err != nil {
		return err
	}
	out.Difference = compose.NewDifference(total)
	out.Layers = len(update.Layers)
	out.Rank = adapters.Rank(update)
	out.Model, err = writeModel(a, c.Out, base.dir, base.Store, update)
	return fault.In("--out "+c.Out, err)
}

// writeModel writes a copy of the base folder with the update in its weights: one model.safetensors, whatever the base had. The
// folder appears complete or not at all, and no more than a few tensors are in memory at a time.
func writeModel(a *app, out, baseDir string, base *checkpoint.Store, update *lora.Adapter) (*mergedModel, error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(out)), 0o777); err != nil {
		return nil, checkpoint.IOFault(err, "written")
	}
	// In the file system of the final folder, so that it can be renamed.
	temporary := filepath.Join(filepath.Dir(filepath.Clean(out)), fmt.Sprintf(".%s.%08x.tmp", filepath.Base(out), rand.Uint32()))
	if err := os.Mkdir(temporary, 0o777); err != nil {
		return nil, checkpoint.IOFault(err, "written")
	}
	defer os.RemoveAll(temporary) // nothing is left there on success
	if err := copyBaseFiles(temporary, baseDir); err != nil {
		return nil, err
	}
	shown := a.startProgress("writing tensors", len(base.Names()))
	err := checkpoint.Write(filepath.Join(temporary, "model.safetensors"), updatedTensors(a, base, update, shown), map[string]string{"format": "pt"})
	shown.end()
	if err == nil {
		err = base.Unchanged()
	}
	if err != nil {
		return nil, err
	}
	merged, err := readBack(temporary, base, update)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(out); err != nil && !os.IsNotExist(err) { // an empty folder gives way, one that has been filled since does not
		return nil, checkpoint.IOFault(err, "written")
	}
	if err := os.Rename(temporary, out); err != nil {
		return nil, checkpoint.IOFault(err, "written")
	}
	return merged, nil
}

// updatedTensors describes the tensors to write; each is read and updated when its turn has come.
func updatedTensors(a *app, base *checkpoint.Store, update *lora.Adapter, shown *progress) []checkpoint.Tensor {
	done := 0
	tensors := make([]checkpoint.Tensor, 0, len(base.Names()))
	for _, name := range base.Names() {
		info, _ := base.Info(name)
		tensors = append(tensors, checkpoint.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Produce: func() ([]float32, error) {
			if err := a.ctx.Err(); err != nil {
				return nil, err
			}
			done++
			shown.set(done, "")
			values := make([]float32, info.Elements())
			if err := base.CopyFloat32(name, values); err != nil {
				return nil, err
			}
			if l := layerOf(update, name); l != nil {
				return values, l.AddTo(values)
			}
			return values, nil
		}})
	}
	return tensors
}

// layerOf returns the layer that updates a tensor of the base, or nil.
func layerOf(update *lora.Adapter, tensor string) *lora.Layer {
	target, isWeight := strings.CutSuffix(tensor, ".weight")
	if !isWeight {
		return nil
	}
	return update.Layer(target)
}

// readBack compares the updated maps on disk with what they should be, in double precision.
func readBack(dir string, base *checkpoint.Store, update *lora.Adapter) (*mergedModel, error) {
	written, err := checkpoint.OpenModel(dir)
	if err != nil {
		return nil, fault.In("reading back", err)
	}
	defer written.Close()
	merged := &mergedModel{}
	merged.Parameters, merged.Bytes = written.Size()
	lost, whole := 0.0, 0.0 // squares
	types := map[string]bool{}
	for i := range update.Layers {
		l := &update.Layers[i]
		name := l.Target + ".weight"
		before, after := make([]float32, l.Out*l.In), make([]float32, l.Out*l.In)
		if err := base.CopyFloat32(name, before); err != nil {
			return nil, err
		}
		if err := written.CopyFloat32(name, after); err != nil {
			return nil, fault.In("reading back", err)
		}
		info, _ := written.Info(name)
		types[string(info.DType)] = true
		for i, u := range l.Update() {
			e := math.Abs(float64(after[i]) - float64(before[i]) - float64(u))
			merged.Rounding.MaxAbs = max(merged.Rounding.MaxAbs, e)
			lost += e * e
			whole += float64(u) * float64(u)
		}
	}
	merged.Types = sortedKeys(types)
	if lost > 0 {
		merged.Rounding.Relative = compose.Finite(math.Sqrt(lost / whole))
	}
	return merged, nil
}
