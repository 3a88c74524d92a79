package peft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/lora"
)

// WriteOptions describe the adapter to PEFT. The zero value works.
type WriteOptions struct {
	TaskType  string // one of PEFT's, such as SEQ_2_SEQ_LM or CAUSAL_LM; empty for none
	BaseModel string // what base_model_name_or_path says; empty for the adapter's own
	Overwrite bool   // put the files into a folder that holds other things and is no adapter
}

// fileMetadata is what PEFT says of its weights.
var fileMetadata = map[string]string{"format": "pt"}

// taskTypes are PEFT's; it refuses others.
var taskTypes = []string{"", "SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"}

// savedConfig is adapter_config.json as Write makes it; PEFT's defaults stand for all other fields.
type savedConfig struct {
	PeftType      string             `json:"peft_type"`
	TaskType      *string            `json:"task_type"`
	BaseModel     *string            `json:"base_model_name_or_path"`
	InferenceMode bool               `json:"inference_mode"`
	Rank          int                `json:"r"`
	Alpha         float64            `json:"lora_alpha"` // encoding/json writes whole numbers as integers, which other readers want
	RankPattern   map[string]int     `json:"rank_pattern"`
	AlphaPattern  map[string]float64 `json:"alpha_pattern"`
	TargetModules []string           `json:"target_modules"`
	Dropout       float64            `json:"lora_dropout"`
	Bias          string             `json:"bias"`
	RSLoRA        bool               `json:"use_rslora"`
	DoRA          bool               `json:"use_dora"`
	FanInFanOut   bool               `json:"fan_in_fan_out"`
	InitWeights   bool               `json:"init_lora_weights"`
}

// Write writes an adapter folder that PEFT loads with the same numbers: A and B bit for bit as F32, and each scale as
// lora_alpha over the rank, exact or one unit in the last place of a float64 away where no float64 divides to it. (Folding
// such a scale into B instead would round every weight, 2^29 times as coarsely.)
//
// A new folder appears complete or not at all. In a folder that is there the old configuration goes first and the new one
// comes last, so that at no time the weights of one adapter stand beside the configuration of another; other files in it are
// left alone. A folder that holds something and is no adapter is refused without Overwrite.
func Write(dir string, adapter *lora.Adapter, options WriteOptions) error {
	config, tensors, err := export(adapter, options)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return checkpoint.IOFault(err, "written")
	}
	exists, err := checkFolder(dir, options)
	if err != nil {
		return err
	}
	// The temporary folder must be in the file system of the final one.
	parent := filepath.Dir(dir)
	if exists {
		parent = dir
	}
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return checkpoint.IOFault(err, "written")
	}
	temporary := filepath.Join(parent, fmt.Sprintf(".%s.%08x.tmp", filepath.Base(dir), rand.Uint32()))
	if err := os.Mkdir(temporary, 0o777); err != nil {
		return checkpoint.IOFault(err, "written")
	}
	defer os.RemoveAll(temporary) // nothing is left there on success
	if err := checkpoint.Write(filepath.Join(temporary, weightsName), tensors, fileMetadata); err != nil {
		return fault.In(weightsName, err)
	}
	if err := checkpoint.WriteFile(filepath.Join(temporary, configName), config); err != nil {
		return fault.In(configName, err)
	}
	return install(temporary, dir, exists)
}

// Encode gives the files that Write writes, by name.
func Encode(adapter *lora.Adapter, options WriteOptions) (map[string][]byte, error) {
	config, tensors, err := export(adapter, options)
	if err != nil {
		return nil, err
	}
	var weights bytes.Buffer
	if err := checkpoint.Encode(&weights, tensors, fileMetadata); err != nil {
		return nil, fault.In(weightsName, err)
	}
	return map[string][]byte{configName: config, weightsName: weights.Bytes()}, nil
}

// install moves what was written to its place.
func install(temporary, dir string, exists bool) error {
	if !exists {
		if err := os.Rename(temporary, dir); err != nil {
			return checkpoint.IOFault(err, "written")
		}
		return nil
	}
	if err := os.Remove(filepath.Join(dir, configName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return checkpoint.IOFault(err, "written")
	}
	for _, name := range []string{weightsName, configName} {
		if err := os.Rename(filepath.Join(temporary, name), filepath.Join(dir, name)); err != nil {
			return fault.In(name, checkpoint.IOFault(err, "written"))
		}
	}
	return nil
}

// checkFolder tells whether dir exists, and refuses one that is somebody else's.
func checkFolder(dir string, options WriteOptions) (exists bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, checkpoint.IOFault(err, "written")
	}
	isAdapter := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == configName })
	if len(entries) > 0 && !isAdapter && !options.Overwrite {
		return false, fault.New(fault.Invalid, "", "the folder is not empty and is not an adapter")
	}
	return true, nil
}

// export checks the adapter and makes the configuration and the tensors.
func export(adapter *lora.Adapter, options WriteOptions) ([]byte, []checkpoint.Tensor, error) {
	if !slices.Contains(taskTypes, options.TaskType) {
		return nil, nil, fault.New(fault.Invalid, "task_type", "%.100q is not one of PEFT's", options.TaskType)
	}
	if len(adapter.Layers) == 0 {
		return nil, nil, fault.New(fault.Invalid, "", "the adapter has no layers")
	}
	tensors := make([]checkpoint.Tensor, 0, 2*len(adapter.Layers))
	for i, l := range adapter.Layers {
		if i > 0 && l.Target <= adapter.Layers[i-1].Target {
			return nil, nil, fault.New(fault.Internal, "layer "+shortened(l.Target), "is not in order or there twice")
		}
		if err := checkLayer(l); err != nil {
			return nil, nil, fault.In("layer "+shortened(l.Target), err)
		}
		tensors = append(tensors,
			checkpoint.Tensor{Name: prefix + l.Target + ".lora_A.weight", DType: checkpoint.F32, Shape: []int{l.Rank, l.In}, Data: l.A},
			checkpoint.Tensor{Name: prefix + l.Target + ".lora_B.weight", DType: checkpoint.F32, Shape: []int{l.Out, l.Rank}, Data: l.B})
	}
	base := options.BaseModel
	if base == "" {
		base = adapter.Base
	}
	if len(base) > maxText {
		return nil, nil, fault.New(fault.TooLarge, "base_model_name_or_path", "has %d bytes; the limit is %d", len(base), maxText)
	}
	text, err := json.MarshalIndent(describe(adapter.Layers, options.TaskType, base), "", "  ")
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, configName, "cannot be made")
	}
	return append(text, '\n'), tensors, nil
}

func checkLayer(l lora.Layer) error {
	name, _, _, ok := splitName(prefix + l.Target + ".lora_A.weight")
	if !ok || name != l.Target {
		return fault.New(fault.Invalid, "", "the name cannot be written")
	}
	if l.Rank < 1 || l.Rank > maxRank || l.In < 1 || l.Out < 1 || len(l.A) != l.Rank*l.In || len(l.B) != l.Out*l.Rank {
		return fault.New(fault.Invalid, "", "rank %d, in %d and out %d do not go with %d and %d weights", l.Rank, l.In, l.Out, len(l.A), len(l.B))
	}
	if !(math.Abs(l.Scale)*float64(l.Rank) <= math.MaxFloat32) {
		return fault.New(fault.Invalid, "", "its scale is %v, which is not finite or too large", l.Scale)
	}
	if err := checkpoint.CheckFinite("lora_A", l.A); err != nil {
		return err
	}
	return checkpoint.CheckFinite("lora_B", l.B)
}

// describe makes the smallest configuration that says what the layers are: the most frequent rank and alpha, and overrides for
// the layers that differ.
func describe(layers []lora.Layer, taskType, base string) savedConfig {
	c := savedConfig{
		PeftType: "LORA", TaskType: optional(taskType), BaseModel: optional(base), InferenceMode: true, Bias: "none", InitWeights: true,
		RankPattern: map[string]int{}, AlphaPattern: map[string]float64{},
	}
	ranks, alphas := make([]int, len(layers)), make([]float64, len(layers))
	for i, l := range layers {
		ranks[i], alphas[i] = l.Rank, alphaOf(l.Scale, l.Rank)
		// Whole names: PEFT also adapts what ends in a name after a dot, and for a whole name that is a map of no other layer.
		c.TargetModules = append(c.TargetModules, l.Target)
	}
	c.Rank, c.Alpha = mostFrequent(ranks), mostFrequent(alphas)
	for i, l := range layers {
		if ranks[i] != c.Rank {
			c.RankPattern[patternFor(l.Target, layers)] = ranks[i]
		}
		if alphas[i] != c.Alpha {
			c.AlphaPattern[patternFor(l.Target, layers)] = alphas[i]
		}
	}
	return c
}

// patternFor matches target and no other layer: its name, if as a pattern that does so (a dot matches any character, and a
// name that ends in it matches too), which is also what PEFT before 0.14 understands; else its name, quoted and anchored.
func patternFor(target string, layers []lora.Layer) string {
	plain := isPlain(target)
	for _, l := range layers {
		plain = plain && (l.Target == target || !matchPlain(target, l.Target))
	}
	if plain {
		return target
	}
	return "^" + regexp.QuoteMeta(target)
}

// alphaOf finds the number that divided by rank gives scale: a whole one if there is one.
func alphaOf(scale float64, rank int) float64 {
	r := float64(rank)
	alpha := scale * r
	for _, candidate := range []float64{math.Round(alpha), alpha, math.Nextafter(alpha, math.Inf(1)), math.Nextafter(alpha, math.Inf(-1))} {
		if candidate/r == scale {
			return candidate
		}
	}
	return alpha
}

// mostFrequent returns the value that occurs most often, of several the smallest.
func mostFrequent[T int | float64](values []T) T {
	count := map[T]int{}
	for _, v := range values {
		count[v]++
	}
	best := values[0]
	for _, v := range slices.Sorted(maps.Keys(count)) {
		if count[v] > count[best] || (count[v] == count[best] && v < best) {
			best = v
		}
	}
	return best
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
