package llama

import (
	"math"

	"github.com/medley-lora/medley/shared/fault"
)

// ropeConfig is how the angles of rotary position embedding are made. The names are those of config.json.
type ropeConfig struct {
	Type        string   `json:"rope_type"`
	OldType     string   `json:"type"`
	Theta       float64  `json:"rope_theta"`
	Partial     *float64 `json:"partial_rotary_factor"`
	Factor      float64  `json:"factor"`
	Low         float64  `json:"low_freq_factor"`  // llama3
	High        float64  `json:"high_freq_factor"` // llama3
	Original    int      `json:"original_max_position_embeddings"`
	Attention   *float64 `json:"attention_factor"` // yarn
	BetaFast    *float64 `json:"beta_fast"`
	BetaSlow    *float64 `json:"beta_slow"`
	MScale      float64  `json:"mscale"`
	MScaleAll   float64  `json:"mscale_all_dim"`
	Truncate    *bool    `json:"truncate"`
	MRopeNumber any      `json:"mrope_section"`
}

// rope turns positions into angles: that of pair i at position p is p·frequency[i]; cosines and sines are scaled.
type rope struct {
	frequencies []float32 // [HeadDim / 2]
	scale       float32
	longest     int // most positions; 0 for any number
}

// newRope computes the frequencies as Transformers does (modeling_rope_utils.py), in float64 and rounded once.
func (c *Config) newRope() (rope, error) {
	refuse := func(field, format string, args ...any) (rope, error) {
		return rope{}, fault.New(fault.Unsupported, "config.json: rope: "+field, format, args...)
	}
	r := ropeConfig{Theta: c.kind.theta}
	if c.Theta != 0 {
		r.Theta = c.Theta
	}
	for _, given := range []*ropeConfig{c.Scaling, c.Rope} {
		if given == nil {
			continue
		}
		theta := r.Theta
		if r = *given; r.Theta == 0 {
			r.Theta = theta
		}
	}
	if r.Type == "" {
		r.Type = r.OldType
	}
	if r.Original == 0 {
		r.Original = c.MaxPositions
	}
	switch {
	case r.MRopeNumber != nil:
		return refuse("mrope_section", "is not supported")
	case r.Partial != nil && *r.Partial != 1:
		return refuse("partial_rotary_factor", "%g is not supported; expected 1", *r.Partial)
	case !(r.Theta > 1 && r.Theta <= 1e12):
		return rope{}, fault.New(fault.Invalid, "config.json: rope_theta", "%g is outside (1, 1e12]", r.Theta)
	case r.Original < 1 || r.Original > maxPositions:
		return rope{}, fault.New(fault.Invalid, "config.json: rope: original_max_position_embeddings", "%d is outside [1, %d]", r.Original, maxPositions)
	}
	plain := r.Type == "" || r.Type == "default"
	if !plain && !(r.Factor >= 1 && r.Factor <= 1e6) {
		return rope{}, fault.New(fault.Invalid, "config.json: rope: factor", "%g is outside [1, 1e6]", r.Factor)
	}
	base := make([]float64, c.HeadDim/2)
	for i := range base {
		base[i] = math.Pow(r.Theta, -float64(2*i)/float64(c.HeadDim))
	}
	made := rope{scale: 1}
	var err error
	switch r.Type {
	case "", "default":
	case "linear":
		for i := range base {
			base[i] /= r.Factor
		}
	case "dynamic":
		made.longest = c.MaxPositions // beyond it the frequencies depend on the length of what is generated
	case "llama3":
		err = r.llama3(base)
	case "yarn":
		made.scale, err = r.yarn(base)
	default:
		return refuse("rope_type", "%.100q is not supported; expected default, linear, dynamic, llama3 or yarn", r.Type)
	}
	for _, f := range base {
		made.frequencies = append(made.frequencies, float32(f))
	}
	return made, err
}

// llama3 slows the frequencies whose waves are longer than the original context allows, and those in between a little.
func (r *ropeConfig) llama3(base []float64) error {
	if !(r.Low > 0 && r.High > r.Low && r.High < 1e6) {
		return fault.New(fault.Invalid, "config.json: rope: high_freq_factor", "%g and low_freq_factor %g are not in order", r.High, r.Low)
	}
	original := float64(r.Original)
	for i, f := range base {
		switch wave := 2 * math.Pi / f; {
		case wave > original/r.Low:
			base[i] = f / r.Factor
		case wave >= original/r.High:
			smooth := (original/wave - r.Low) / (r.High - r.Low)
			base[i] = (1-smooth)*f/r.Factor + smooth*f
		}
	}
	return nil
}

// yarn (arXiv 2309.00071) slows the low frequencies, keeps the high ones and goes over from one to the other in between.
func (r *ropeConfig) yarn(base []float64) (scale float32, err error) {
	fast, slow := 32.0, 1.0
	if r.BetaFast != nil {
		fast = *r.BetaFast
	}
	if r.BetaSlow != nil {
		slow = *r.BetaSlow
	}
	if !(slow > 0 && fast >= slow && fast < 1e6) {
		return 0, fault.New(fault.Invalid, "config.json: rope: beta_fast", "%g and beta_slow %g are not in order", fast, slow)
	}
	width := 2 * len(base)
	turns := func(rotations float64) float64 { // the pair that turns so often within the original context
		return float64(width) * math.Log(float64(r.Original)/(rotations*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := turns(fast), turns(slow)
	if r.Truncate == nil || *r.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(width-1))
	if low == high {
		high += 0.001
	}
	for i, f := range base {
		slowed := min(max((float64(i)-low)/(high-low), 0), 1)
		base[i] = f/r.Factor*slowed + f*(1-slowed)
	}
	grown := func(m float64) float64 { return 0.1*m*math.Log(r.Factor) + 1 }
	attention := grown(1)
	switch {
	case r.Attention != nil:
		attention = *r.Attention
	case r.MScale != 0 && r.MScaleAll != 0:
		attention = grown(r.MScale) / grown(r.MScaleAll)
	}
	if !(attention > 0 && attention < 100) {
		return 0, fault.New(fault.Invalid, "config.json: rope: attention_factor", "%g is outside (0, 100)", attention)
	}
	return float32(attention), nil
}

// angles fills rows [first, last) of a table: HeadDim/2 cosines, then as many sines.
func (r *rope) angles(first, last int) []float32 {
	half := len(r.frequencies)
	table := make([]float32, 0, (last-first)*2*half)
	for p := first; p < last; p++ {
		row := make([]float32, 2*half)
		for i, f := range r.frequencies {
			sin, cos := math.Sincos(float64(float32(p) * f)) // the product is of f32, as in Transformers
			row[i], row[half+i] = float32(cos)*r.scale, float32(sin)*r.scale
		}
		table = append(table, row...)
	}
	return table
}
