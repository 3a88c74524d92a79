package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	keyName     = "20060102T150405Z.pem" // of the file of a key that was created then
	pemType     = "PRIVATE KEY"
	maxKeyBytes = 4 << 10
)

func makeFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fault.Wrap(err, fault.Internal, "keys", "the folder cannot be made")
	}
	return nil
}

// readFolder reads all keys, oldest first. Files of other names are not ours.
func readFolder(folder string) ([]pair, error) {
	entries, err := os.ReadDir(folder) // sorted by name, which is by time
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "keys", "the folder cannot be read")
	}
	var pairs []pair
	for _, e := range entries {
		created, err := time.Parse(keyName, e.Name())
		if err != nil {
			continue
		}
		if len(pairs) == maxKeys {
			return nil, fault.New(fault.Invalid, "keys", "are more than %d", maxKeys)
		}
		p, err := readKey(folder, created)
		if errors.Is(err, fs.ErrNotExist) { // deleted since it was listed
			continue
		}
		if err != nil {
			return nil, fault.In(e.Name(), err)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

func readKey(folder string, created time.Time) (pair, error) {
	f, err := os.Open(keyPath(folder, created))
	if err != nil {
		return pair{}, fault.Wrap(err, fault.Internal, "keys", "a file cannot be read")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return pair{}, fault.Wrap(err, fault.Internal, "keys", "a file cannot be read")
	}
	if !info.Mode().IsRegular() || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return pair{}, fault.New(fault.Invalid, "keys", "must be a file that its owner alone can read (mode 0600), because whoever reads it can sign tokens")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyBytes))
	if err != nil {
		return pair{}, fault.Wrap(err, fault.Internal, "keys", "a file cannot be read")
	}
	private, err := parseKey(data)
	if err != nil {
		return pair{}, err
	}
	return newPair(private, created)
}

func parseKey(data []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemType {
		return nil, fault.New(fault.Invalid, "keys", "is no private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "keys", "is no private key in PKCS #8")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fault.New(fault.Unsupported, "keys", "must be an Ed25519 key")
	}
	return private, nil
}

// newPair names a key by its thumbprint (RFC 7638), so that a name cannot be taken by another key.
func newPair(private ed25519.PrivateKey, created time.Time) (pair, error) {
	jwk := jose.JSONWebKey{Key: private.Public()}
	thumbprint, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return pair{}, fault.Wrap(err, fault.Internal, "keys", "a key has no thumbprint")
	}
	return pair{base64.RawURLEncoding.EncodeToString(thumbprint), private, created}, nil
}

// writeKey writes a key to a temporary file, which becomes the key's by a link: it appears whole, and replaces no other.
func writeKey(folder string, created time.Time, private ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fault.Wrap(err, fault.Internal, "keys", "a key cannot be written")
	}
	temporary := filepath.Join(folder, ".new-"+rand.Text())
	defer os.Remove(temporary)
	if err := writeFile(temporary, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})); err != nil {
		return fault.Wrap(err, fault.Internal, "keys", "a key cannot be written")
	}
	if err := os.Link(temporary, keyPath(folder, created)); err != nil {
		return fault.Wrap(err, fault.Internal, "keys", "a key cannot be written; another process may have made one at this moment")
	}
	return nil
}

func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func removeKey(folder string, created time.Time) error {
	if err := os.Remove(keyPath(folder, created)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Wrap(err, fault.Internal, "keys", "an old key cannot be deleted")
	}
	return nil
}

func keyPath(folder string, created time.Time) string {
	return filepath.Join(folder, created.UTC().Format(keyName))
}
