package main

import (
	"slices"
	"testing"
)

func TestJoinNegative(t *testing.T) {
	cases := []struct{ args, want []string }{
		{[]string{"score", "--weights", "-1,0.5", "--json"}, []string{"score", "--weights=-1,0.5", "--json"}},
		{[]string{"score", "--weights", "-.5"}, []string{"score", "--weights=-.5"}},
		{[]string{"score", "--weights", "--json"}, []string{"score", "--weights", "--json"}},
		{[]string{"score", "--weights", "-h"}, []string{"score", "--weights", "-h"}},
		{[]string{"score", "--weights"}, []string{"score", "--weights"}},
		{[]string{"score", "--penalty", "-1"}, []string{"score", "--penalty", "-1"}},
	}
	for _, c := range cases {
		if got := joinNegative(c.args); !slices.Equal(got, c.want) {
			t.Errorf("%q became %q, want %q", c.args, got, c.want)
		}
	}
}
