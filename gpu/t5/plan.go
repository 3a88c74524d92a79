package t5

// The estimates below count the floats that are alive at the widest moment of a pass, following forward.go; a test holds them to what
// a backend really allocates.

// ScoreBytes is the memory that one source row and one target row add to Encode + Decode + LogProbs, with Targets.Absorb or without.
func (m *Model) ScoreBytes(absorb bool) (source, target int64) {
	c := m.Config
	width, inner, wide := int64(c.Width), int64(c.Heads*c.HeadDim), int64(c.FFWidth)
	block := 4*width + 4*inner + 3*wide                                 // norms, sums; q, k, v, context; wi_0, wi_1, gated
	source = int64(c.EncoderLayers+1)*width + block + width             // each layer's result lives to the end; and the last norm
	target = int64(c.DecoderLayers+1)*width + block + 2*inner + 3*width // cross-attention adds q, context, norm and sum
	if absorb {
		return 4 * source, 4 * (target + 1 + 2*int64(c.Heads)*(inner+width)) // a row for each head, on the way in and on the way out
	}
	return 4 * (source + 2*inner), 4 * (target + 1) // cross-attention's keys and values are source rows
}

// GenerateBytes is the memory that one source row and one sequence with room for so many tokens add to generation.
func (m *Model) GenerateBytes(room int) (source, sequence int64) {
	c := m.Config
	inner := int64(c.Heads * c.HeadDim)
	source, step := m.ScoreBytes(false)
	source += 4 * 2 * inner * int64(c.DecoderLayers)
	return source, step + 4*(2*inner*int64(c.DecoderLayers)*int64(room)+int64(c.VocabSize))
}
