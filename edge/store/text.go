package store

import (
	"strings"
	"unicode/utf8"

	"github.com/medley-lora/medley/shared/fault"
)

// text is a value with the name of its field.
type text struct{ field, value string }

// maxText bounds every field of a record that is not a document, in bytes. PostgreSQL cannot index much more.
const maxText = 1024

// short refuses values that are too long or not storable.
func short(fields ...text) error {
	for _, f := range fields {
		if len(f.value) > maxText {
			return fault.New(fault.TooLarge, f.field, "is longer than %d bytes", maxText)
		}
		if err := storable([]any{f.value}); err != nil {
			return fault.In(f.field, err)
		}
	}
	return nil
}

// storable refuses text that PostgreSQL cannot hold, so that both databases hold the same.
func storable(args []any) error {
	for _, arg := range args {
		if value, ok := arg.(string); ok && (!utf8.ValidString(value) || strings.ContainsRune(value, 0)) {
			return fault.New(fault.Invalid, "", "text must be UTF-8 without NUL characters")
		}
	}
	return nil
}

// mended is value as short and storable takes it.
func mended(value string) string {
	value = strings.ReplaceAll(strings.ToValidUTF8(value, "\uFFFD"), "\x00", "\uFFFD")
	if len(value) > maxText {
		value = strings.ToValidUTF8(value[:maxText], "") // which drops a character cut in two
	}
	return value
}
