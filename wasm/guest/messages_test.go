package guest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The verbs of every message that the guest's packages have are ones that package shared/fault/lean knows.
func TestMessages(t *testing.T) {
	message := regexp.MustCompile(`fault\.New\([^"]*"[^"]*", "((?:[^"\\]|\\.)*)"`)
	verbs := regexp.MustCompile(`%[^a-z%]*[a-z%]`)
	found := 0
	for _, pattern := range []string{"../../shared/search/problem.go", "../../shared/search/ledger.go", "../optimizer/*.go", "abi/*.go"} {
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
