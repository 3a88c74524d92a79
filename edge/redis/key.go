package redis

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// keyVersion changes whenever the meaning of a cached value does, so that answers of an older release are not taken for ours.
const keyVersion = "medley result 1"

// Key is the address of a cached result: a digest of everything that determines it.
type Key [sha256.Size]byte

// KeyOf is the SHA-256 of a version and of the parts, each behind its length as 8 big-endian bytes, so that no two lists of parts give
// the same bytes.
func KeyOf(parts ...[]byte) Key {
	h := sha256.New()
	writePart(h, []byte(keyVersion))
	for _, part := range parts {
		writePart(h, part)
	}
	return Key(h.Sum(nil))
}

func writePart(w io.Writer, part []byte) {
	_, _ = w.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash takes everything
	_, _ = w.Write(part)
}
