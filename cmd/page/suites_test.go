//go:build !js

package main

import (
	"strings"
	"testing"
)

// suites takes suites of other packages to the page: what holds natively must hold in a browser.
func suites(t *testing.T, p *page) {
	for _, suite := range []struct{ name, folder, skip string }{
		// A goroutine that collects garbage without a pause never lets the browser answer: a page has one thread.
		{"device", "../../gpu/device", "TestContract/reads_under_garbage_collection"},
		{"simd", "../../gpu/simd", ""},
		{"webgpu", "../../gpu/webgpu", ""},
	} {
		t.Run(suite.name, func(t *testing.T) {
			program := suite.name + ".test.wasm"
			p.compile(t, program, "test", "-c", suite.folder)
			args := []string{"-test.run=^TestContract$", "-test.skip=" + suite.skip, "-test.v", "-test.timeout=5m"}
			result := evaluate[struct {
				Code   int
				Output string
			}](t, p, "run", program, args)
			if result.Code != 0 || !strings.Contains(result.Output, "--- PASS: TestContract ") {
				t.Errorf("exit code %d:\n%s", result.Code, result.Output)
			}
		})
	}
}
