// Package lora is the algebra of low-rank adapters: what a module is, and what it means to compose several into one.
// Loops are plain; nothing here is on the scoring path, which is the engine's.
package lora

// Layer is the low-rank update of one linear map W [Out, In] of the base: W + Scale·B·A.
type Layer struct {
	Target string    // the map's name in the base, without ".weight": "encoder.block.0.layer.0.SelfAttention.q"
	In     int       // columns of W and of A
	Out    int       // rows of W and of B
	Rank   int       // rows of A, columns of B
	Scale  float64   // lora_alpha/rank, or lora_alpha/√rank when rank-stabilised (rsLoRA, arXiv 2312.03732)
	A      []float32 // [Rank, In], row-major
	B      []float32 // [Out, Rank], row-major
}

// Adapter is a set of layers, sorted by Target, each Target at most once. It is immutable once made: compositions share
// its slices.
type Adapter struct {
	Name   string
	Base   string // the base model that it was trained on, as its author wrote it; may be empty
	Layers []Layer
}
