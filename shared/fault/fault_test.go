package fault

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestErrors(t *testing.T) {
	inner := Wrap(io.EOF, Invalid, "rank", "must be at most %d", 8)
	for _, c := range []struct {
		err   error
		code  Code
		text  string
		cause bool // io.EOF is found in it
	}{
		{New(NotFound, "", "nothing is called %q", "x"), NotFound, `nothing is called "x"`, false},
		{inner, Invalid, "rank: must be at most 8", true},
		{In("adapter french", inner), Invalid, "adapter french: rank: must be at most 8", true},
		{In("base", New(TooLarge, "", "is too large")), TooLarge, "base: is too large", false},
		{In("line 3", io.EOF), Internal, "line 3: EOF", true},
		{fmt.Errorf("reading: %w", inner), Invalid, "reading: rank: must be at most 8", true},
		{io.EOF, Internal, "EOF", true},
	} {
		if CodeOf(c.err) != c.code || c.err.Error() != c.text || errors.Is(c.err, io.EOF) != c.cause {
			t.Errorf("%q (%s), want %q (%s)", c.err, CodeOf(c.err), c.text, c.code)
		}
	}
	if In("anywhere", nil) != nil || CodeOf(nil) != "" {
		t.Error("no error becomes one")
	}
}
