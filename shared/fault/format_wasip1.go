package fault

import "github.com/medley-lora/medley/shared/fault/lean"

// WebAssembly guests say little, and a visitor of a page waits for their bytes.
func sprintf(format string, args ...any) string { return lean.Sprintf(format, args...) }
