package fault_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/medley-lora/medley/shared/fault"
	lean "github.com/medley-lora/medley/wasm/guest/lean"
)

// The verbs of every message that the guest's packages have are ones that this package knows.
func TestVerbs(t *testing.T) {
	message := regexp.MustCompile(`fault\.New\([^"]*"[^"]*", "((?:[^"\\]|\\.)*)"`)
	verbs := regexp.MustCompile(`%[^a-z%]*[a-z%]`)
	found := 0
	for _, pattern := range []string{"../../../shared/search/problem.go", "../../optimizer/*.go", "../abi/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range message.FindAllSubmatch(text, -1) {
				found++
				for _, verb := range verbs.FindAllString(string(m[1]), -1) {
					if verb != "%d" && verb != "%s" && verb != "%q" {
						t.Errorf("%q: the guest does not know %s", m[1], verb)
					}
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d messages were found", found)
	}
}

func TestSameMessages(t *testing.T) {
	for _, c := range []struct {
		format string
		args   []any
	}{
		{"nothing to fill in", nil},
		{"must be from 1 to %d, got %d", []any{10_000, -3}},
		{"%q is not one of %s", []any{"a \"b\"\n\x00é", "x, y"}},
		{"%s%d%q", []any{"", 0, ""}},
	} {
		want := fault.New(fault.Invalid, "dim", c.format, c.args...).Error()
		if got := lean.New(lean.Invalid, "dim", c.format, c.args...).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := lean.New(lean.Invalid, "", "100%").Error(); got != "100%" {
		t.Errorf("a last percent sign becomes %q", got)
	}
}

func TestSameCodes(t *testing.T) {
	for code, want := range map[lean.Code]fault.Code{
		lean.Invalid: fault.Invalid, lean.Unsupported: fault.Unsupported, lean.NotFound: fault.NotFound, lean.TooLarge: fault.TooLarge,
		lean.Canceled: fault.Canceled, lean.Internal: fault.Internal,
	} {
		if string(code) != string(want) {
			t.Errorf("code %q, want %q", code, want)
		}
		if got := lean.CodeOf(lean.New(code, "", "")); got != code {
			t.Errorf("the code of an error with %q is %q", code, got)
		}
	}
	if got := lean.CodeOf(errors.New("other")); got != lean.Internal {
		t.Errorf("the code of another error is %q", got)
	}
	if got := lean.CodeOf(nil); got != "" {
		t.Errorf("the code of no error is %q", got)
	}
}
