package peft

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	maxRank = 1 << 16
	maxText = 4096 // bytes of a name in the configuration
)

// Config is what matters of adapter_config.json.
type Config struct {
	TaskType     string // SEQ_2_SEQ_LM, CAUSAL_LM, …; empty if not given
	BaseModel    string // as its author wrote it, a hub's name or a path of theirs; empty if not given. Never open it.
	Rank         int
	Alpha        float64
	RSLoRA       bool       // the scale is alpha/√rank instead of alpha/rank
	RankPattern  []Override // in the order of the file: the first that matches counts
	AlphaPattern []Override
	Targets      Targets
}

// Override is a rank or an alpha for the maps that Pattern matches, by PEFT's rule (get_pattern_key): the regular
// expression matches the whole name, or what follows one of its dots.
type Override struct {
	Pattern string
	Value   float64
}

// Targets is target_modules: a list of names, each matching a map of that name or whose name ends in it after a dot; or a
// regular expression for whole names. If both are empty, anything may be adapted (null and "all-linear" in PEFT).
type Targets struct {
	Names   []string
	Pattern string
}

// parseConfig checks and reads adapter_config.json.
func parseConfig(text []byte) (Config, error) {
	c := Config{Rank: 8, Alpha: 8} // PEFT's defaults
	if !utf8.Valid(text) {
		return c, fault.New(fault.Invalid, configName, "is not valid UTF-8")
	}
	members, err := parseObject(configName, text)
	if err != nil {
		return c, err
	}
	isLoRA := false
	for _, m := range members {
		if err := checkField(m.name, m.value); err != nil {
			return c, err
		}
		if m.name == "peft_type" {
			var kind string
			if kind, err = parseText(m); err == nil && kind != "LORA" {
				err = fault.New(fault.Unsupported, m.name, "is %.100q; only LORA is supported", kind)
			}
			isLoRA = true
		} else {
			err = c.set(m)
		}
		if err != nil {
			return c, err
		}
	}
	if !isLoRA {
		return c, fault.New(fault.Invalid, "peft_type", "is missing")
	}
	return c, nil
}

// set reads one field that is understood and leaves others alone.
func (c *Config) set(m member) (err error) {
	switch m.name {
	case "task_type":
		c.TaskType, err = parseText(m)
	case "base_model_name_or_path":
		c.BaseModel, err = parseText(m)
	case "r":
		var r float64
		r, err = parseRank(m)
		c.Rank = int(r)
	case "lora_alpha":
		c.Alpha, err = parseAlpha(m)
	case "rank_pattern":
		c.RankPattern, err = parseOverrides(m, parseRank)
	case "alpha_pattern":
		c.AlphaPattern, err = parseOverrides(m, parseAlpha)
	case "use_rslora":
		if json.Unmarshal(m.value, &c.RSLoRA) != nil {
			return fault.New(fault.Invalid, m.name, "must be true or false")
		}
	case "target_modules":
		c.Targets, err = parseTargets(m)
	case "bias":
		if string(m.value) != `"none"` {
			return fault.New(fault.Unsupported, m.name, "only \"none\" is supported")
		}
	case "init_lora_weights":
		return checkInitialisation(m)
	}
	return err
}

func checkInitialisation(m member) error {
	var how string
	if s := string(m.value); s == "true" || s == "false" || s == "null" {
		return nil
	}
	if json.Unmarshal(m.value, &how) == nil && initialisations[how] {
		return nil
	}
	return fault.New(fault.Unsupported, m.name, "%.100s is not supported: it may have changed the base model's weights", m.value)
}

func parseText(m member) (string, error) {
	var s *string
	if json.Unmarshal(m.value, &s) != nil {
		return "", fault.New(fault.Invalid, m.name, "must be a text or null")
	}
	if s == nil {
		return "", nil
	}
	if len(*s) > maxText {
		return "", fault.New(fault.TooLarge, m.name, "has %d bytes; the limit is %d", len(*s), maxText)
	}
	return *s, nil
}

// parseRank wants an integer, as PEFT does: 8.0 is not one.
func parseRank(m member) (float64, error) {
	r, err := strconv.ParseInt(string(m.value), 10, 64)
	if err != nil || r < 1 || r > maxRank {
		return 0, fault.New(fault.Invalid, m.name, "must be an integer between 1 and %d", maxRank)
	}
	return float64(r), nil
}

// parseAlpha wants a number that the arithmetic's 32 bits can hold.
func parseAlpha(m member) (float64, error) {
	a, err := strconv.ParseFloat(string(m.value), 64)
	if err != nil || !(math.Abs(a) <= math.MaxFloat32) {
		return 0, fault.New(fault.Invalid, m.name, "must be a finite number")
	}
	return a, nil
}

func parseOverrides(m member, parse func(member) (float64, error)) ([]Override, error) {
	if string(m.value) == "null" {
		return nil, nil
	}
	members, err := parseObject(m.name, m.value)
	if err != nil {
		return nil, err
	}
	list := make([]Override, len(members))
	for i, item := range members {
		v, err := parse(member{m.name + "." + shortened(item.name), item.value})
		if err != nil {
			return nil, err
		}
		list[i] = Override{Pattern: item.name, Value: v}
	}
	return list, nil
}

func parseTargets(m member) (Targets, error) {
	var t Targets
	if string(m.value) == "null" || string(m.value) == `"all-linear"` {
		return t, nil
	}
	if json.Unmarshal(m.value, &t.Pattern) == nil {
		if t.Pattern == "" {
			return t, fault.New(fault.Invalid, m.name, "is empty")
		}
		return t, nil
	}
	if json.Unmarshal(m.value, &t.Names) != nil {
		return t, fault.New(fault.Invalid, m.name, "must be a list of names or a regular expression")
	}
	if len(t.Names) == 0 {
		return t, fault.New(fault.Invalid, m.name, "is empty")
	}
	return t, nil
}

// member is one field of a JSON object.
type member struct {
	name  string
	value json.RawMessage // without surrounding white space
}

// parseObject splits a JSON object into its members, in order; a name that is there twice is an error. Errors are about
// the member at fault if there is one, else about what.
func parseObject(what string, text []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, fault.New(fault.Invalid, what, "must be a JSON object")
	}
	var members []member
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		name, isText := key.(string)
		if err != nil || !isText {
			return nil, fault.New(fault.Invalid, what, "is not valid JSON near byte %d", d.InputOffset())
		}
		if seen[name] {
			return nil, fault.New(fault.Invalid, shortened(name), "is there twice")
		}
		seen[name] = true
		m := member{name: name}
		if d.Decode(&m.value) != nil {
			return nil, fault.New(fault.Invalid, shortened(name), "does not hold valid JSON near byte %d", d.InputOffset())
		}
		members = append(members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, fault.New(fault.Invalid, what, "is not valid JSON near byte %d", d.InputOffset())
	}
	if len(bytes.TrimSpace(text[d.InputOffset():])) != 0 {
		return nil, fault.New(fault.Invalid, what, "there is something after the closing '}'")
	}
	return members, nil
}

// shortened makes a stranger's name fit to be shown.
func shortened(name string) string {
	const limit = 100
	if len(name) > limit {
		return strconv.QuoteToASCII(name[:limit]) + "…"
	}
	if q := strconv.QuoteToASCII(name); q[1:len(q)-1] != name {
		return q
	}
	return name
}
