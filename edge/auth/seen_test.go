package auth

import (
	"fmt"
	"strings"
	"testing"
)

func TestSeenIsBounded(t *testing.T) {
	var s seen
	for n := range maxSeen + 100 {
		name := fmt.Sprint(n)
		s.put(name, signed{kid: name})
		if token, ok := s.get(name); !ok || token.kid != name {
			t.Fatalf("%s is forgotten at once", name)
		}
	}
	if len(s.tokens) != maxSeen {
		t.Errorf("%d tokens are remembered", len(s.tokens))
	}
	long := strings.Repeat("a", maxSeenToken+1)
	s.put(long, signed{})
	if _, ok := s.get(long); ok {
		t.Error("a long token is remembered")
	}
}
