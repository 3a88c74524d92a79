package lean

import (
	"fmt"
	"testing"
)

func TestSprintf(t *testing.T) {
	for _, c := range []struct {
		format string
		args   []any
	}{
		{"nothing to fill in", nil},
		{"must be from 1 to %d, got %d", []any{10_000, -3}},
		{"%q is not one of %s", []any{"a \"b\"\n\x00é", "x, y"}},
		{"%s%d%q", []any{"", 0, ""}},
	} {
		if got, want := Sprintf(c.format, c.args...), fmt.Sprintf(c.format, c.args...); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, format := range []string{"100%", "%", "%v of %d"} {
		if got := Sprintf(format); got != format {
			t.Errorf("%q becomes %q", format, got)
		}
	}
}
