package store

import (
	"testing"

	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// A cursor comes from a client: whatever it is, it is one of ours to the letter or fault.Invalid.
func FuzzCursor(f *testing.F) {
	for _, text := range []string{"", ".", "1.x", cursor{1793541600000000, record.NewID(record.ModuleID)}.String(), "-1.x", "1.\x00", "zzzzzzzzzzzzz.x", "1.a.b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err == nil && c.String() != text || err != nil && fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%q is read as %+v, %v", text, c, err)
		}
	})
}
