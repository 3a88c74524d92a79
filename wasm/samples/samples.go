// Package samples holds plugin optimizers in four languages for authors to start from: the guest interface (package wasm/host describes
// it) over one algorithm, which asks for the same candidates, bit for bit, as the built-in "es" of wasm/optimizer. A folder is complete
// by itself, with its sources, what its compiler needs and a README.md that says how to build it.
package samples

import (
	"embed"
	"io/fs"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// The files are named, so that what a build leaves in a folder is not taken along.
//
//go:embed rust/README.md rust/Cargo.toml rust/src/lib.rs rust/src/es.rs rust/src/config.rs
//go:embed c/README.md c/Makefile c/plugin.c c/plugin.h c/config.c c/memory.c
//go:embed assemblyscript/README.md assemblyscript/package.json assemblyscript/asconfig.json
//go:embed assemblyscript/assembly/tsconfig.json assemblyscript/assembly/index.ts assemblyscript/assembly/es.ts
//go:embed assemblyscript/assembly/config.ts assemblyscript/assembly/refusal.ts
//go:embed go/README.md go/main.go go/es.go go/config.go
var files embed.FS

// Languages returns the names that Template knows, the smallest modules first.
func Languages() []string { return []string{"c", "assemblyscript", "rust", "go"} }

// Template returns the files of a plugin in a language, to be copied into a folder of any name: rooted there, README.md beside the
// sources. The error is a fault.NotFound about the field "language".
func Template(language string) (fs.FS, error) {
	for _, l := range Languages() {
		if l == language {
			return fs.Sub(files, l)
		}
	}
	return nil, fault.New(fault.NotFound, "language", "%q is not one of %s", language, strings.Join(Languages(), ", "))
}
