package peft

import (
	"encoding/json"

	"github.com/medley-lora/medley/shared/fault"
)

// rule is what a field of adapter_config.json may hold.
type rule int

const (
	understood rule = iota // parseConfig reads it
	harmless               // any value: it does not change what the trained adapter computes
	offOnly                // refused unless false in Python's sense: null, false, 0, "", [] or {}
	nullOnly               // refused unless null: PEFT turns the feature on by any other value, even {} and []
)

// fields is every field of PEFT 0.21's LoraConfig, with the reason for its rule. A field that is not here is refused unless it
// is off (offOnly): features that PEFT adds arrive as fields that are off where they are not used.
var fields = map[string]rule{
	"peft_type":               understood, // must be LORA
	"task_type":               understood, // kept for writing
	"base_model_name_or_path": understood, // kept as text; nothing is opened by it
	"r":                       understood,
	"lora_alpha":              understood,
	"rank_pattern":            understood,
	"alpha_pattern":           understood,
	"use_rslora":              understood,
	"target_modules":          understood,
	"bias":                    understood, // must be none
	"init_lora_weights":       understood, // some change the base

	"lora_dropout":        harmless, // training only
	"inference_mode":      harmless, // whether PEFT freezes the weights
	"peft_version":        harmless, // of the writer
	"revision":            harmless, // of the base, as a download names it
	"auto_mapping":        harmless, // the base's Python class; nothing is imported by it
	"exclude_modules":     harmless, // which maps are adapted: the tensors say so
	"layers_to_transform": harmless, // the same
	"layers_pattern":      harmless, // the same
	"eva_config":          harmless, // initialisation; init_lora_weights says whether it was used
	"corda_config":        harmless, // the same
	"loftq_config":        harmless, // the same
	"lora_ga_config":      harmless, // the same
	"megatron_core":       harmless, // a module's name, used with megatron_config only
	"qalora_group_size":   harmless, // used with use_qalora only
	"runtime_config":      harmless, // where to compute; PEFT ignores it in files

	"use_dora":                offOnly,  // scales the columns of the whole weight
	"fan_in_fan_out":          offOnly,  // the base's weight is transposed
	"lora_bias":               offOnly,  // adds a bias to B
	"modules_to_save":         offOnly,  // replaces whole modules of the base
	"layer_replication":       offOnly,  // repeats layers of the base
	"megatron_config":         offOnly,  // parallel layers with their own layout
	"use_qalora":              offOnly,  // pools the input before A
	"target_parameters":       offOnly,  // adapts parameters that are not linear maps
	"ensure_weight_tying":     offOnly,  // adapts tied maps together
	"trainable_token_indices": nullOnly, // replaces rows of the embedding
	"alora_invocation_tokens": nullOnly, // adapts only the tokens after an invocation
	"use_bdlora":              nullOnly, // A or B is block-diagonal and stored compactly
	"arrow_config":            nullOnly, // routes between adapters by token
	"velora_config":           nullOnly, // another projection of activations
	"monteclora_config":       nullOnly, // perturbs A and B by sampling
	"kasa_config":             nullOnly, // a diagonal between B and A, and a truncated base
}

// initialisations are the values of init_lora_weights after which the base is still the base. PiSSA, OLoRA, CorDA, LoftQ and
// LoRA-GA subtract from it; adapters of theirs that PEFT has converted are saved with true.
var initialisations = map[string]bool{"gaussian": true, "orthogonal": true, "eva": true, "mica": true}

// checkField applies the rule of a field that is not understood.
func checkField(name string, value json.RawMessage) error {
	r, known := fields[name]
	if !known {
		r = offOnly
	}
	switch {
	case r == understood || r == harmless:
		return nil
	case r == nullOnly && string(value) == "null":
		return nil
	case r == offOnly && isOff(value):
		return nil
	case !known:
		return fault.New(fault.Unsupported, shortened(name), "is not a field that is known, so it may change what the adapter computes")
	}
	return fault.New(fault.Unsupported, name, "is not supported")
}

// isOff tells whether Python takes a JSON value for false.
func isOff(value json.RawMessage) bool {
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		return false // a number beyond float64: not zero
	}
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case float64:
		return v == 0
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
