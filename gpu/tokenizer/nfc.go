//go:build !js

package tokenizer

import "golang.org/x/text/unicode/norm"

// nfc is Unicode's canonical composition.
func nfc(text string) string { return norm.NFC.String(text) }
