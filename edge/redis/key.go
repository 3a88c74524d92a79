package redis

import (
	"crypto/sha256"
	"encoding/binary"
)

// keyVersion changes whenever the meaning of a cached value does, so that answers of an older release are not taken for ours.
const keyVersion = "medley result 1"

// Key is the address of a cached result: a digest of everything that determines it.
type Key [sha256.Size]byte

// KeyOf is the SHA-256 of a version and of the parts, joined.
func KeyOf(parts ...string) Key {
	return sha256.Sum256(joined(append([]string{keyVersion}, parts...)))
}

// joined is the parts, each behind its length as 8 big-endian bytes, so that no two lists of parts give the same bytes.
func joined(parts []string) []byte {
	size := 0
	for _, part := range parts {
		size += 8 + len(part)
	}
	text := make([]byte, 0, size)
	for _, part := range parts {
		text = append(binary.BigEndian.AppendUint64(text, uint64(len(part))), part...)
	}
	return text
}
