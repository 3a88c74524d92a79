package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medley-lora/medley/shared/adapters"
)

// misuse is a command line that is wrong in one place.
type misuse struct {
	name string
	args []string // added to, or taken from, a command line that is right
	says []string // what the message must name: the flag, and what was expected
}

// TestMisuse: every wrong flag is refused with exit code 2, says what was expected, prints no result and writes nothing.
func TestMisuse(t *testing.T) {
	p := newPlace(t)
	broken := p.write(t, "given/broken/adapter_config.json", `{"peft_type": "LORA", "r": "many"}`)
	p.write(t, "given/broken/adapter_model.safetensors", read(t, filepath.Join(p.module("add"), "adapter_model.safetensors")))
	empty := p.write(t, "given/empty.jsonl", "")
	wrong := p.write(t, "given/wrong.jsonl", `{"input": "a", "output": "b"}`+"\n"+`{"input": "a"}`+"\n")
	vectors := p.write(t, "given/vectors.json", "[[1,1],[2,2]]")
	model := p.write(t, "given/model/config.json", `{"model_type": "gpt9"}`)
	nothing, aFile := p.to("nothing"), filepath.Join(p.base(), "config.json")
	out := p.to("out")

	base := []misuse{
		{"base missing", []string{"-base"}, []string{"--base"}},
		{"base nowhere", []string{"--base", nothing}, []string{"--base", "config.json"}},
		{"base a file", []string{"--base", aFile}, []string{"--base"}},
		{"base an adapter", []string{"--base", p.module("add")}, []string{"--base", "config.json"}},
		{"base of another family", []string{"--base", filepath.Dir(model)}, []string{"--base", "gpt9", "t5"}},
		{"backend", []string{"--backend", "abacus"}, []string{"backend", "abacus", "reference"}},
	}
	examples := []misuse{
		{"examples missing", []string{"-examples"}, []string{"--examples"}},
		{"examples nowhere", []string{"--examples", nothing}, []string{"--examples", "no such file"}},
		{"examples a folder", []string{"--examples", p.base()}, []string{"--examples", "directory"}},
		{"examples empty", []string{"--examples", empty}, []string{"--examples"}},
		{"examples wrong", []string{"--examples", wrong}, []string{"--examples", "line 2", "output"}},
		{"examples not JSON", []string{"--examples", aFile}, []string{"--examples", "line 1"}},
	}
	modules := []misuse{
		{"modules nowhere", []string{"--modules", nothing}, []string{"--modules", "adapter_config.json"}},
		{"modules a base", []string{"--modules", p.base()}, []string{"--modules", "adapter_config.json"}},
		{"modules a bad pattern", []string{"--modules", "[a-"}, []string{"--modules", "pattern"}},
		{"modules matching nothing", []string{"--modules", p.to("none*")}, []string{"--modules", "matches no folder"}},
		{"a folder that is none", []string{nothing}, []string{"adapter_config.json"}},
	}
	weights := []misuse{
		{"weights missing", []string{"-weights"}, []string{"--weights"}},
		{"weights too few", []string{"--weights", "1"}, []string{"--weights", "expected 2"}},
		{"weights too many", []string{"--weights", "1,1,1"}, []string{"--weights", "expected 2"}},
		{"weights in words", []string{"--weights", "one,two"}, []string{"--weights", "0.5,-0.25,1"}},
		{"weights NaN", []string{"--weights", "NaN,1"}, []string{"--weights"}},
		{"weights huge", []string{"--weights", "1e99,1"}, []string{"--weights", "1e+99"}},
		{"weights of nothing", []string{"--weights="}, []string{"--weights"}},
		{"weights a folder", []string{"--weights", p.base()}, []string{"--weights"}},
		{"weights not of weights", []string{"--weights", aFile}, []string{"--weights"}},
		{"weights an empty file", []string{"--weights", empty}, []string{"--weights", "expected 2"}},
		{"module refused", []string{"--modules", p.variant("unsupported_dora"), "--weights", "1,1,1"}, []string{"unsupported_dora", "use_dora"}},
		{"module broken", []string{"--modules", filepath.Dir(broken), "--weights", "1,1,1"}, []string{"broken", "r: must be an integer"}},
	}
	objective := []misuse{
		{"objective", []string{"--objective", "happiness"}, []string{"objective", "happiness", "sparse"}},
		{"penalty negative", []string{"--penalty=-1"}, []string{"penalty", "-1", "at least 0"}},
		{"penalty NaN", []string{"--penalty", "NaN"}, []string{"penalty", "NaN"}},
		{"penalty in words", []string{"--penalty", "none"}, []string{"--penalty", "none"}},
	}
	method := []misuse{
		{"method unknown", []string{"--method", "magic"}, []string{"method", "magic", "delta"}},
		{"method static", []string{"--method", "ties"}, []string{"method", "ties", "delta"}},
		{"product of unlike modules", []string{"--method", "product", "--modules", p.variant("rslora_r4"), "--weights", "1,1,1"}, []string{"method", "product"}},
	}
	two := p.modules("add", "plural")
	for _, command := range []struct {
		name  string
		right []string
		wrong [][]misuse
	}{
		{"score", append([]string{"--base", p.base(), "--examples", p.few("several"), "--weights", "1,1"}, two...),
			[][]misuse{base, examples, modules, weights, objective, method, {
				{"no modules", []string{"-modules", "-modules"}, []string{"weights"}},
			}}},
		{"compose", append([]string{"--base", p.base(), "--examples", p.few("several"), "--out", out, "--budget", "4"}, two...),
			[][]misuse{base, examples, modules, objective, method[:2], {
				{"out missing", []string{"-out"}, []string{"--out"}},
				{"out a file", []string{"--out", aFile}, []string{"--out", "folder"}},
				{"out in a file", []string{"--out", filepath.Join(aFile, "out")}, []string{"--out"}},
				{"out a base", []string{"--out", p.base()}, []string{"--out", "not an adapter"}},
				{"out one of the modules", []string{"--out", p.module("add")}, []string{"--out", "--modules"}},
				{"no modules", []string{"-modules", "-modules"}, []string{"--modules"}},
				{"module refused", []string{"--modules", p.variant("unsupported_bias")}, []string{"unsupported_bias", "bias"}},
				{"optimizer", []string{"--optimizer", "luck"}, []string{"--optimizer", "luck", "gntr"}},
				{"budget zero", []string{"--budget", "0"}, []string{"budget", "at least 1"}},
				{"budget negative", []string{"--budget=-4"}, []string{"budget", "at least 1"}},
				{"budget endless", []string{"--budget", "100000000"}, []string{"budget", "100000"}},
				{"budget in words", []string{"--budget", "lots"}, []string{"--budget", "lots"}},
				{"batch", []string{"--batch", "0"}, []string{"batch", "at least 1"}},
				{"seed", []string{"--seed", "x"}, []string{"--seed"}},
				{"holdout of all", []string{"--holdout", "5"}, []string{"holdout", "5"}},
				{"holdout negative", []string{"--holdout=-1"}, []string{"holdout", "-1"}},
				{"sample too many", []string{"--sample", "3"}, []string{"--sample", "[1, 2]"}},
				{"sample negative", []string{"--sample=-1"}, []string{"--sample", "[1, 2]"}},
				{"rank negative", []string{"--rank=-1"}, []string{"rank", "-1"}},
				{"rank huge", []string{"--rank", "129"}, []string{"rank", "128"}},
				{"rank of a product", []string{"--method", "product", "--rank", "2"}, []string{"rank", "product"}},
				{"eval nowhere", []string{"--eval", nothing}, []string{"--eval", "no such file"}},
				{"eval wrong", []string{"--eval", wrong}, []string{"--eval", "line 2"}},
				{"trace a folder", []string{"--trace", p.base()}, []string{"--trace"}},
				{"trace in no folder", []string{"--trace", filepath.Join(nothing, "trace")}, []string{"--trace"}},
				{"report in no folder", []string{"--report", filepath.Join(nothing, "report.html")}, []string{"--report"}},
				{"report a folder", []string{"--report", p.base()}, []string{"--report"}},
			}}},
		{"generate", append([]string{"--base", p.base(), "--weights", "1,1", "--prompt", "plural: cat", "--max-tokens", "3"}, two...),
			[][]misuse{base, modules, weights[1:], method, {
				{"weights missing", []string{"-weights"}, []string{"--weights"}},
				{"two vectors", []string{"--weights", vectors}, []string{"--weights", "expected one"}},
				{"adapter and modules", []string{"--adapter", p.module("add")}, []string{"--adapter", "--modules"}},
				{"weights of nothing", []string{"-modules", "-modules"}, []string{"--weights"}},
				{"input nowhere", []string{"-prompt", "--input", nothing}, []string{"--input", "no such file"}},
				{"input empty", []string{"-prompt", "--input", empty}, []string{"--prompt"}},
				{"prompt and input", []string{"--input", empty}, []string{"--prompt", "--input"}},
				{"max tokens", []string{"--max-tokens=-1"}, []string{"max", "-1"}},
				{"temperature", []string{"--temperature=-1"}, []string{"temperature", "-1"}},
				{"top k", []string{"--top-k=-1"}, []string{"top", "-1"}},
				{"top p", []string{"--top-p", "2"}, []string{"top", "2"}},
			}}},
		{"merge", append([]string{"--weights", "1,1", "--out", out}, two...),
			[][]misuse{base[1:5], modules, weights, {
				{"out missing", []string{"-out"}, []string{"--out"}},
				{"out a file", []string{"--out", aFile}, []string{"--out", "folder"}},
				{"out in a file", []string{"--out", filepath.Join(aFile, "out")}, []string{"--out"}},
				{"out a base", []string{"--out", p.base()}, []string{"--out", "not an adapter"}},
				{"out one of the modules", []string{"--out", p.module("add")}, []string{"--out", "--modules"}},
				{"no modules", []string{"-modules", "-modules"}, []string{"--modules"}},
				{"two vectors", []string{"--weights", vectors}, []string{"--weights", "expected one"}},
				{"method", []string{"--method", "magic"}, []string{"--method", "magic", "delta"}},
				{"rank negative", []string{"--rank=-1"}, []string{"--rank", "negative"}},
				{"rank huge", []string{"--rank", "129"}, []string{"--rank", "128"}},
				{"rank of a method without", []string{"--method", "ties", "--density", "0.5", "--rank", "2"}, []string{"--rank", "ties"}},
				{"density missing", []string{"--method", "ties"}, []string{"--density", "above 0 and up to 1"}},
				{"density zero", []string{"--method", "ties", "--density", "0"}, []string{"--density", "above 0 and up to 1"}},
				{"density above 1", []string{"--method", "ties", "--density", "1.5"}, []string{"--density", "above 0 and up to 1"}},
				{"density NaN", []string{"--method", "ties", "--density", "NaN"}, []string{"--density", "above 0 and up to 1"}},
				{"density of a method without", []string{"--density", "0.5"}, []string{"--density", "delta"}},
				{"majority sign", []string{"--method", "ties", "--density", "1", "--majority-sign", "loudest"}, []string{"--majority-sign", "total", "frequency"}},
				{"majority sign of a method without", []string{"--majority-sign", "total"}, []string{"--majority-sign", "delta"}},
				{"seed", []string{"--seed=-1"}, []string{"--seed"}},
				{"into no base", []string{"--into-base"}, []string{"--into-base", "--base"}},
				{"into an adapter", []string{"--into-base", "--base", p.base(), "--out", p.variant("rslora_r4")}, []string{"--out", "not empty"}},
				{"into a file", []string{"--into-base", "--base", p.base(), "--out", aFile}, []string{"--out", "folder"}},
				{"modules that do not fit", []string{"--base", p.base(), "--modules", misfit(t, p), "--weights", "1,1,1"}, []string{"misfit", "128"}},
			}}},
		{"inspect", []string{p.base()}, [][]misuse{base[1:5]}},
		{"demo", nil, [][]misuse{base[5:], objective, {
			{"task", []string{"--task", "juggling"}, []string{"--task", "juggling", "opinion"}},
			{"optimizer", []string{"--optimizer", "luck"}, []string{"--optimizer", "luck", "gntr"}},
			{"method", []string{"--task", "opinion", "--method", "ties"}, []string{"method", "ties", "delta"}},
			{"budget", []string{"--task", "opinion", "--budget", "0"}, []string{"budget", "at least 1"}},
			{"keep in a file", []string{"--keep", filepath.Join(aFile, "zoo")}, []string{"--keep"}},
		}}},
	} {
		for _, group := range command.wrong {
			for _, c := range group {
				t.Run(command.name+"/"+c.name, func(t *testing.T) {
					args := append([]string{command.name}, changed(command.right, c.args)...)
					if command.name != "merge" && command.name != "inspect" && !strings.HasPrefix(c.name, "backend") {
						args = append(args, "--backend", "reference")
					}
					before, zoo := files(t, p.out), files(t, p.zoo)
					o := medley(t, args...)
					if o.code != exitUsage || o.stdout != "" {
						t.Errorf("exit code %d, stdout %.300q", o.code, o.stdout)
					}
					for _, want := range c.says {
						if !strings.Contains(o.stderr, want) {
							t.Errorf("the message does not say %q: %s", want, o.stderr)
						}
					}
					if !maps.Equal(files(t, p.out), before) || !maps.Equal(files(t, p.zoo), zoo) {
						t.Error("something was written")
						os.RemoveAll(out)
					}
				})
			}
		}
	}
}

// changed replaces flags of a command line, adds new ones (and --modules) and, for "-flag", takes one away.
func changed(right, changes []string) []string {
	args := append([]string{}, right...)
	remove := func(flag string) {
		for i := 0; i < len(args); i++ {
			if args[i] == flag {
				args = append(args[:i:i], args[i+2:]...)
				return
			}
		}
	}
	for _, c := range changes {
		switch {
		case strings.HasPrefix(c, "--") && c != "--modules":
			name, _, _ := strings.Cut(c, "=")
			remove(name)
		case strings.HasPrefix(c, "-") && !strings.HasPrefix(c, "--"):
			remove("-" + c)
			continue
		}
		args = append(args, c)
	}
	return args
}

// misfit writes an adapter for another base.
func misfit(t *testing.T, p place) string {
	t.Helper()
	a, err := adapters.Load(p.module("add"))
	if err != nil {
		t.Fatal(err)
	}
	dir := p.to("given/misfit")
	for i := range a.Layers {
		a.Layers[i].In, a.Layers[i].A = 64, a.Layers[i].A[:64*a.Layers[i].Rank]
	}
	writeFolder(t, dir, a)
	return dir
}
