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
	return 4 * (int64(c.Layers+3)*int64(c.Width) + c.rowFloats() + 1) // each layer's result lives to the end
}

// GenerateBytes is the memory that one token of a prompt, and one sequence with room for so many tokens, add to generation.
func (m *Model) GenerateBytes(room int) (token, sequence int64) {
	c := m.Config
	cached := 2 * int64(c.Layers) * int64(c.KVHeads*c.HeadDim)
	step := int64(c.Layers+3)*int64(c.Width) + c.rowFloats() + int64(c.VocabSize)
	return 4 * (cached + int64(c.Layers+1)*int64(c.Width) + c.rowFloats()), 4 * (cached*int64(room) + step)
}
