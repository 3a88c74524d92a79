package simd

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var include = regexp.MustCompile(`(?m)^#include "(.+)"`)

// kernels.wasm must be what build.sh makes of the sources as they are, and kernels.sha256 must name all of those.
func TestKernelsAreCurrent(t *testing.T) {
	noted, err := os.ReadFile("kernels.sha256")
	if err != nil {
		t.Fatal(err)
	}
	named, wanted := map[string]bool{}, []string{"build.sh", "kernels.wasm", "kernels/simd128.c", "kernels/math.c", "kernels/freestanding/math.h"}
	for line := range strings.Lines(string(noted)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			t.Fatalf("kernels.sha256: line %q", line)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if now := fmt.Sprintf("%x", sha256.Sum256(data)); now != sum {
			t.Errorf("%s has changed since gpu/simd/build.sh ran: run it again", name)
		}
		named[name] = true
		for _, m := range include.FindAllStringSubmatch(string(data), -1) {
			wanted = append(wanted, path.Join(path.Dir(name), m[1]))
		}
	}
	for _, name := range wanted {
		if !named[name] {
			t.Errorf("kernels.sha256 does not name %s: add it to gpu/simd/build.sh", name)
		}
	}
}
