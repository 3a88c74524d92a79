// Package zoomany makes any number of LoRA modules out of the zoo's, for trying what a large collection does to a search. They
// differ from each other as copies in a public collection do: retrained a little, scaled, pruned, cut to a lower rank.
package zoomany

import (
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/zoo"
)

// variant is one way to change a module. It owns the adapter that it is given.
type variant struct {
	name   string
	change func(*lora.Adapter, *rand.Rand) (*lora.Adapter, error)
}

var variants = []variant{
	{"noised", noised},
	{"scaled", scaled},
	{"pruned", pruned},
	{"truncated", truncated},
}

// Make writes n PEFT folders into dir: every module of the zoo in the first variant, then in the second, and so on round again
// with other random choices. Folder i depends on seed and i alone. Its name says what it is made of: "007_french_noised". A
// negative n is fault.Invalid.
func Make(dir string, n int, seed uint64) error {
	if n < 0 {
		return fault.New(fault.Invalid, "n", "is %d; expected 0 or more", n)
	}
	folders, err := fs.Glob(zoo.Files(), "modules/*")
	if err != nil {
		return err
	}
	for i := range n {
		folder := folders[i%len(folders)]
		v := variants[i/len(folders)%len(variants)]
		name := fmt.Sprintf("%03d_%s_%s", i, path.Base(folder), v.name)
		adapter, err := open(name, folder)
		if err != nil {
			return err
		}
		changed, err := v.change(adapter, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			return fault.In(name, err)
		}
		if err := peft.Write(filepath.Join(dir, name), changed, peft.WriteOptions{TaskType: "SEQ_2_SEQ_LM"}); err != nil {
			return fault.In(name, err)
		}
	}
	return nil
}

func open(name, folder string) (*lora.Adapter, error) {
	config, err := fs.ReadFile(zoo.Files(), path.Join(folder, "adapter_config.json"))
	if err != nil {
		return nil, err
	}
	weights, err := fs.ReadFile(zoo.Files(), path.Join(folder, "adapter_model.safetensors"))
	if err != nil {
		return nil, err
	}
	module, err := peft.Parse(name, config, weights)
	if err != nil {
		return nil, err
	}
	return module.Load()
}

// factors lists every A and B.
func factors(a *lora.Adapter) [][]float32 {
	var all [][]float32
	for _, l := range a.Layers {
		all = append(all, l.A, l.B)
	}
	return all
}

// noised adds normal noise of a tenth to a half of each factor's root mean square.
func noised(a *lora.Adapter, random *rand.Rand) (*lora.Adapter, error) {
	share := 0.1 + 0.4*random.Float64()
	for _, f := range factors(a) {
		var sum float64
		for _, x := range f {
			sum += float64(x) * float64(x)
		}
		deviation := share * math.Sqrt(sum/float64(len(f)))
		for i := range f {
			f[i] += float32(deviation * random.NormFloat64())
		}
	}
	return a, nil
}

// scaled multiplies the update by a quarter to two.
func scaled(a *lora.Adapter, random *rand.Rand) (*lora.Adapter, error) {
	factor := float32(0.25 + 1.75*random.Float64())
	for _, l := range a.Layers {
		for i := range l.B {
			l.B[i] *= factor
		}
	}
	return a, nil
}

// pruned zeroes the smallest tenth to half of each factor's entries.
func pruned(a *lora.Adapter, random *rand.Rand) (*lora.Adapter, error) {
	share := 0.1 + 0.4*random.Float64()
	for _, f := range factors(a) {
		magnitudes := make([]float64, len(f))
		for i, x := range f {
			magnitudes[i] = math.Abs(float64(x))
		}
		slices.Sort(magnitudes)
		threshold := magnitudes[int(share*float64(len(f)))]
		for i, x := range f {
			if math.Abs(float64(x)) < threshold {
				f[i] = 0
			}
		}
	}
	return a, nil
}

// truncated keeps one to half of the singular values of each update.
func truncated(a *lora.Adapter, random *rand.Rand) (*lora.Adapter, error) {
	rank := 1 + random.IntN(max(1, a.Layers[0].Rank/2))
	return lora.Compose(lora.Delta, []*lora.Adapter{a}, []float64{1}, lora.Options{Rank: rank})
}
