package record

import (
	"strings"
	"testing"
)

func TestID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID(ModuleID)
		if !IsID(ModuleID, id) || IsID(BaseID, id) || seen[id] {
			t.Fatalf("%q is not a new ID of a module", id)
		}
		seen[id] = true
	}
	good := NewID(KeyID)
	for name, id := range map[string]string{
		"empty": "", "prefix alone": "key_", "short": good[:len(good)-1], "long": good + "a", "upper case": "key_" + strings.ToUpper(good[4:]),
		"another alphabet": good[:len(good)-1] + "1", "NUL": good[:len(good)-1] + "\x00", "line break": good[:len(good)-1] + "\n",
		"a path": "key_../../../../../../../../..", "no underscore": "key" + good[4:] + "a",
	} {
		if IsID(KeyID, id) {
			t.Errorf("%s: %q passes for an ID", name, id)
		}
	}
}
