package peft

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
)

// prefix stands before the base's own names in what PEFT saves.
const prefix = "base_model.model."

// halves are the names of the two tensors of a layer.
type halves struct{ a, b string }

// findLayers pairs the tensors and holds their shapes to the configuration.
func findLayers(store *checkpoint.Store, config Config) ([]LayerInfo, []halves, error) {
	pairs, err := pairTensors(store.Names())
	if err != nil {
		return nil, nil, err
	}
	ranks, err := compileOverrides("rank_pattern", config.RankPattern, len(pairs))
	if err != nil {
		return nil, nil, err
	}
	alphas, err := compileOverrides("alpha_pattern", config.AlphaPattern, len(pairs))
	if err != nil {
		return nil, nil, err
	}
	covers := config.Targets.covers()
	layers := make([]LayerInfo, 0, len(pairs))
	names := make([]halves, 0, len(pairs))
	for _, target := range slices.Sorted(maps.Keys(pairs)) {
		if !covers(target) {
			return nil, nil, fault.New(fault.Invalid, "target_modules", "does not name %s, for which there are weights", shortened(target))
		}
		layer, err := shapeOf(store, target, pairs[target])
		if err != nil {
			return nil, nil, err
		}
		if r := int(ranks.value(target, float64(config.Rank))); layer.Rank != r {
			return nil, nil, fault.New(fault.Invalid, "layer "+shortened(target),
				"its tensors have rank %d, but r and rank_pattern say %d", layer.Rank, r)
		}
		divisor := float64(layer.Rank)
		if config.RSLoRA {
			divisor = math.Sqrt(divisor)
		}
		layer.Scale = alphas.value(target, config.Alpha) / divisor
		layers, names = append(layers, layer), append(names, pairs[target])
	}
	return layers, names, nil
}

// pairTensors finds the halves of each target. Every tensor must be one.
func pairTensors(tensors []string) (map[string]halves, error) {
	if len(tensors) == 0 {
		return nil, fault.New(fault.Invalid, "weights", "hold no tensors")
	}
	pairs := map[string]halves{}
	adapter := ""
	for i, tensor := range tensors {
		target, half, name, ok := splitName(tensor)
		if !ok {
			return nil, refuseTensor(tensor)
		}
		if i > 0 && name != adapter {
			return nil, fault.New(fault.Invalid, "tensor "+shortened(tensor), "belongs to another adapter than those before it")
		}
		adapter = name
		pair := pairs[target]
		side := &pair.a
		if half == "B" {
			side = &pair.b
		}
		if *side != "" {
			return nil, fault.New(fault.Invalid, "tensor "+shortened(tensor), "is a second lora_%s of the same map", half)
		}
		*side = tensor
		pairs[target] = pair
	}
	return pairs, nil
}

// splitName takes [base_model.model.]TARGET.lora_A[.ADAPTER].weight apart; PEFT itself saves without ADAPTER.
func splitName(tensor string) (target, half, adapter string, ok bool) {
	at := strings.LastIndex(tensor, ".lora_")
	if at < 0 {
		return "", "", "", false
	}
	target = strings.TrimPrefix(tensor[:at], prefix)
	half, rest, _ := strings.Cut(tensor[at+len(".lora_"):], ".")
	if half != "A" && half != "B" {
		return "", "", "", false
	}
	if rest != "weight" {
		if adapter, ok = strings.CutSuffix(rest, ".weight"); !ok || adapter == "" || strings.Contains(adapter, ".") {
			return "", "", "", false
		}
	}
	// Targets are matched by patterns and shown on terminals; PyTorch's names are identifiers joined by dots.
	for _, c := range []byte(target) {
		if c <= ' ' || c > '~' {
			return "", "", "", false
		}
	}
	return target, half, adapter, target != ""
}

func refuseTensor(tensor string) error {
	why := "is not a lora_A or lora_B of a linear map, and leaving it out would change the numbers"
	switch {
	case strings.Contains(tensor, "lora_embedding_"):
		why = "is LoRA on an embedding, which is not supported"
	case strings.Contains(tensor, "lora_magnitude_vector"):
		why = "belongs to DoRA, which is not supported"
	case strings.HasSuffix(tensor, ".bias"):
		why = "is a trained bias, which is not supported"
	}
	return fault.New(fault.Unsupported, "tensor "+shortened(tensor), "%s", why)
}

// shapeOf reads A [rank, in] and B [out, rank].
func shapeOf(store *checkpoint.Store, target string, pair halves) (LayerInfo, error) {
	layer := LayerInfo{Target: target}
	field := "layer " + shortened(target)
	for _, side := range []struct{ name, half string }{{pair.a, "lora_A"}, {pair.b, "lora_B"}} {
		info, ok := store.Info(side.name)
		switch {
		case !ok:
			return layer, fault.New(fault.Invalid, field, "%s is missing", side.half)
		case info.DType != checkpoint.F32 && info.DType != checkpoint.F16 && info.DType != checkpoint.BF16:
			return layer, fault.New(fault.Unsupported, "tensor "+shortened(side.name),
				"has type %s; only F32, F16 and BF16 are supported", info.DType)
		case len(info.Shape) != 2 || info.Shape[0] == 0 || info.Shape[1] == 0:
			return layer, fault.New(fault.Unsupported, "tensor "+shortened(side.name), "has shape %v; only matrices are supported", info.Shape)
		case side.half == "lora_A":
			layer.Rank, layer.In = info.Shape[0], info.Shape[1]
		case info.Shape[1] != layer.Rank:
			return layer, fault.New(fault.Invalid, field, "lora_A has rank %d and lora_B has rank %d", layer.Rank, info.Shape[1])
		default:
			layer.Out = info.Shape[0]
		}
	}
	return layer, nil
}
