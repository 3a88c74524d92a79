package samples

import (
	"math"
	"strings"
	"testing"
)

// FuzzConfig: whatever the configuration, the readers that the templates bring along do not trap, and read no number differently. C and
// AssemblyScript take the same; Rust takes that too, and numbers of more digits besides. It changes a number and what follows it, as a
// change of the whole would seldom be read so far.
func FuzzConfig(f *testing.F) {
	f.Add("-1.5e-0", `,"x":[{"y":[null,true,"\""]},false],"options":{}}`)
	f.Add("0.30000000000000004", `,"l1":0.05,"groups":[1,2],"aux":3}`)
	f.Add("123456789012345e-22 ", "\r\n,\"\\u006c1\":-0.0,\"init\":[0],\"options\":{\"speed\":\"9\"}}")
	f.Add("1", strings.Repeat(`,"a":[`, 70))
	var plugins []kind
	for _, language := range []string{"c", "assemblyscript", "rust"} {
		plugins = append(plugins, kind{language, "", engine(f, module(f, language))})
	}
	f.Fuzz(func(t *testing.T, number, rest string) {
		json := `{"dim":1,"budget":2,"batch":1,"seed":"7","lower":[` + number + `],"upper":[` + number + `]` + rest
		codes, first := map[string]int32{}, map[string][]float64{}
		for _, k := range plugins {
			p := k.start(t)
			defer p.Close(t.Context())
			code := p.create(json)
			codes[k.name] = code
			switch {
			case code != 0 && code != -1 && code != -2 || code != 0 && p.lastError() == "":
				t.Fatalf("%s: %d, %q", k.name, code, p.lastError())
			case code == 0:
				x := p.call("opt_alloc", 2*8*10_000)
				if n := p.code("opt_ask", x, 2); n < 1 || n > 2 {
					t.Fatalf("%s: asked for 2, got %d (%q)", k.name, n, p.lastError())
				}
				first[k.name] = p.read(x, 64)
			}
		}
		if codes["c"] != codes["assemblyscript"] || codes["c"] == 0 && codes["rust"] != 0 {
			t.Fatalf("%q: codes %v", json, codes)
		}
		if codes["c"] == 0 {
			for i, v := range first["c"] {
				if math.Float64bits(v) != math.Float64bits(first["rust"][i]) || math.Float64bits(v) != math.Float64bits(first["assemblyscript"][i]) {
					t.Fatalf("%q: candidates %v", json, first)
				}
			}
		}
	})
}
