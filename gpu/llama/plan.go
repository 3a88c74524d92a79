package llama

// The estimates below count the floats that are alive at the widest moment of a pass, following forward.go; a test holds them to what
// a backend really allocates.

// rowFloats is what one row takes in the middle of a layer: norms, sums, queries, keys, values and context; gate, up and their product.
func (c *Config) rowFloats() int64 {
	width, inner, shared, wide := int64(c.Width), int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim), int64(c.FFWidth)
	return 4*width + 4*inner + 4*shared + 3*wide + int64(c.HeadDim)
}

// ScoreBytes is the memory that one row adds to Forward + LogProbs.
func (m *Model) ScoreBytes() int64 {
	c := m.Config
	return 4 * (int64(c.HeadDim) + 3*int64(c.Width) + c.rowFloats() + 1)
}

// StepBytes is the memory that one token that is fed, and one sequence whose logits are wanted, add to a step of Decoding, its cache apart.
func (m *Model) StepBytes() (token, sequence int64) {
	c := m.Config
	return 4 * (int64(c.HeadDim) + 2*int64(c.Width) + c.rowFloats()), 4 * (2*int64(c.Width) + int64(c.VocabSize))
}
