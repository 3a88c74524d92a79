package task

// MostPieces bounds Counts.Pieces, which are for people to read.
const MostPieces = 1 << 14

// Counts is what a tokenizer makes of examples, after cutting sides that are too long.
type Counts struct {
	Inputs  []int // tokens of each input
	Outputs []int // tokens of each output, the end token included: what is scored
	// Pieces are the texts of the outputs' tokens: of as many of the first examples as have up to MostPieces tokens in all. A token that is
	// no text has an empty one: the end token, and one in the middle of a character.
	Pieces   [][]string
	Warnings []string // for each side that was cut
}
