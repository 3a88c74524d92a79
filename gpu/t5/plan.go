package t5

// The estimates below count the floats that are alive at the widest moment of a pass, following forward.go; a test holds them to what
// a backend really allocates.

// ScoreBytes is the memory that one source row and one target row add to Encode + Decode + LogProbs, with Targets.Absorb or without.
func (m *Model) ScoreBytes(absorb bool) (source, target int64) {
	c := m.Config
	width, inner, wide := int64(c.Width), int64(c.Heads*c.HeadDim), int64(c.FFWidth)
	block := 4*width + 4*inner + 3*wide          // norms, sums; q, k, v, context; wi_0, wi_1, gated
	source = 2*width + block                     // what a layer is given, and the last norm
	target = 2*width + block + 2*inner + 3*width // cross-attention adds q, context, norm and sum
	if absorb {
		return 4 * source, 4 * (target + 1 + 2*int64(c.Heads)*(inner+width)) // a row for each head, on the way in and on the way out
	}
	return 4 * (source + 2*inner), 4 * (target + 1) // cross-attention's keys and values are source rows
}

// StepBytes is the memory that one row of a source that is taken, and one target, add to a step of Decoding, its cache apart.
func (m *Model) StepBytes() (source, target int64) {
	source, target = m.ScoreBytes(false)
	return source, target + 4*int64(m.Config.VocabSize)
}
