package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/auth/authtest"
	"github.com/medley-lora/medley/shared/fault"
)

func TestFirstStart(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data", "keys")
	keys, err := auth.OpenKeySet(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	if age, err := keys.Age(); err != nil || age < 0 || age > time.Minute {
		t.Errorf("the key is %v old, %v", age, err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	for path, mode := range map[string]os.FileMode{folder: 0o700, filepath.Join(folder, files[0].Name()): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", filepath.Base(path), info.Mode(), err)
		}
	}
	again, err := auth.OpenKeySet(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	if kids(t, again) != kids(t, keys) {
		t.Error("another key after a restart")
	}
}

// TestManyFirstStarts opens one empty folder in many processes, as it were: all believe each other's tokens.
func TestManyFirstStarts(t *testing.T) {
	folder := t.TempDir()
	sets := make([]*auth.KeySet, 8)
	var wg sync.WaitGroup
	for i := range sets {
		wg.Go(func() {
			var err error
			if sets[i], err = auth.OpenKeySet(folder, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	last, err := auth.OpenKeySet(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := kids(t, last)
	for _, s := range sets {
		newest, _, _ := strings.Cut(kids(t, s), " ")
		if !strings.Contains(all, newest) {
			t.Errorf("%s signs and is not in the folder: %s", newest, all)
		}
	}
}

func TestJWKS(t *testing.T) {
	w := authtest.New(t)
	set, err := w.Keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &document); err != nil || len(document.Keys) != 1 { // not the retired one
		t.Fatalf("%s: %v", data, err)
	}
	key := document.Keys[0]
	if len(key) != 6 || key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["use"] != "sig" || key["alg"] != "EdDSA" || len(key["kid"]) != 43 || len(key["x"]) != 43 {
		t.Errorf("%s", data)
	}
}

// TestThumbprint takes the key of RFC 8037, appendix A.1, whose thumbprint is in A.3.
func TestThumbprint(t *testing.T) {
	folder := t.TempDir()
	const der = "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20" // what PKCS #8 puts before a seed (RFC 8410, section 7)
	const seed = "\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60"
	write(t, folder, "20260101T000000Z.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte(der + seed)}), 0o600)
	keys, err := auth.OpenKeySet(folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := kids(t, keys); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error(got)
	}
}

func TestRotation(t *testing.T) {
	w := authtest.New(t)
	ctx := context.Background()
	long := func() auth.Token {
		token, err := w.Authority.Issue("ann", auth.Request{Scopes: []string{"admin"}, TTL: auth.MaxTTL})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	expect := func(when string, token auth.Token, why string) {
		t.Helper()
		_, err := w.Authority.Verify(ctx, token.Text)
		if why == "" && err != nil || why != "" && !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("%s: %v, want %q", when, err, why)
		}
	}
	before, old := long(), w.KeyID(t)
	if err := w.Keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	after := long()
	if w.KeyID(t) == old || len(strings.Fields(kids(t, w.Keys))) != 2 {
		t.Errorf("keys %s after %s", kids(t, w.Keys), old)
	}
	expect("rotated", before, "")
	expect("rotated", after, "")
	w.Clock.Move(auth.MaxTTL - time.Second)
	expect("just before the end", before, "")
	w.Clock.Move(auth.Leeway)
	expect("within the leeway", before, "")
	w.Clock.Move(time.Second)
	expect("after the end", before, "has expired") // the key is still believed
	w.Clock.Move(11 * time.Second)
	expect("after the key's end", before, "key that is not known")
	if strings.Contains(kids(t, w.Keys), old) {
		t.Error("a key that verifies no more is published")
	}
	if err := w.Keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(w.Folder); err != nil || len(files) != 2 {
		t.Errorf("old keys stay: %v, %v", files, err)
	}
	for range 3 { // within one second
		if err := w.Keys.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(strings.Fields(kids(t, w.Keys))); n != 5 {
		t.Errorf("%d keys", n)
	}
}

func TestRotationHasAnEnd(t *testing.T) {
	w := authtest.New(t)
	var err error
	for n := 0; err == nil && n < 100; n++ {
		err = w.Keys.Rotate()
	}
	if fault.CodeOf(err) != fault.TooLarge {
		t.Error(err)
	}
	if _, err := auth.OpenKeySet(w.Folder, nil); err != nil {
		t.Error(err)
	}
}

// TestFolder is about what other processes and people do to the folder.
func TestFolder(t *testing.T) {
	w := authtest.New(t)
	ctx := context.Background()
	other, err := auth.OpenKeySet(w.Folder, w.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Rotate(); err != nil {
		t.Fatal(err)
	}
	w.Clock.Move(11 * time.Second)
	token := w.Token(t, "ann", auth.Admin)
	if kids(t, w.Keys) != kids(t, other) {
		t.Error("what another process has made is not seen")
	}

	newest := w.Clock.Now().Add(-11 * time.Second).UTC().Format("20060102T150405Z.pem")
	if err := os.Remove(filepath.Join(w.Folder, newest)); err != nil {
		t.Fatal(err)
	}
	w.Clock.Move(11 * time.Second)
	if _, err := w.Authority.Verify(ctx, token.Text); !strings.Contains(fmt.Sprint(err), "key that is not known") {
		t.Errorf("a token of a key that was deleted: %v", err)
	}

	token = w.Token(t, "ann", auth.Admin)
	away := w.Folder + "-away"
	if err := os.Rename(w.Folder, away); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(away)
	w.Clock.Move(30 * time.Second)
	if _, err := w.Authority.Verify(ctx, token.Text); err != nil {
		t.Errorf("the folder is away for a moment: %v", err)
	}
	w.Clock.Move(40 * time.Second)
	if _, err := w.Authority.Verify(ctx, token.Text); fault.CodeOf(err) != auth.Unavailable {
		t.Errorf("the folder is away: %v", err)
	}
	if _, err := w.Authority.Issue("ann", auth.Request{Scopes: []string{"admin"}}); fault.CodeOf(err) != auth.Unavailable {
		t.Errorf("the folder is away, issuing: %v", err)
	}
	if err := w.Keys.Rotate(); fault.CodeOf(err) != fault.Internal || strings.Contains(err.Error(), w.Folder) {
		t.Errorf("the folder is away, rotating: %v", err)
	}
	if err := os.Rename(away, w.Folder); err != nil {
		t.Fatal(err)
	}
	w.Clock.Move(11 * time.Second)
	if _, err := w.Authority.Verify(ctx, token.Text); err != nil {
		t.Errorf("the folder is back: %v", err)
	}
}

func TestBadKeyFiles(t *testing.T) {
	good := func(t *testing.T) []byte {
		folder := t.TempDir()
		authtest.WriteKey(t, folder, time.Unix(0, 0))
		data, err := os.ReadFile(filepath.Join(folder, "19700101T000000Z.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	const name = "20260101T000000Z.pem"
	for what, c := range map[string]struct {
		data []byte
		mode os.FileMode
		code fault.Code
	}{
		"good":              {good, 0o600, ""},
		"read-only":         {good, 0o400, ""},
		"read by others":    {good, 0o644, fault.Invalid},
		"read by the group": {good, 0o640, fault.Invalid},
		"empty":             {nil, 0o600, fault.Invalid},
		"garbage":           {[]byte("garbage"), 0o600, fault.Invalid},
		"truncated":         {good[:60], 0o600, fault.Invalid},
		"another type":      {[]byte(strings.ReplaceAll(string(good), "PRIVATE", "PUBLIC")), 0o600, fault.Invalid},
		"a megabyte":        {append(make([]byte, 1<<20), good...), 0o600, fault.Invalid},
		"no Ed25519":        {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600, fault.Unsupported},
	} {
		folder := t.TempDir()
		write(t, folder, name, c.data, c.mode)
		write(t, folder, "README", []byte("not ours"), 0o644)
		_, err := auth.OpenKeySet(folder, nil)
		if fault.CodeOf(err) != c.code || err != nil && (strings.Contains(err.Error(), folder) || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.OpenKeySet(folder, nil); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("a folder: %v", err)
	}
	if _, err := auth.OpenKeySet(filepath.Join(folder, name, "file", "\x00"), nil); fault.CodeOf(err) != fault.Internal {
		t.Errorf("a name that cannot be: %v", err)
	}
}

func write(t *testing.T, folder, name string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), data, mode); err != nil {
		t.Fatal(err)
	}
}

// kids are the names of the keys that verify, the newest first.
func kids(t *testing.T, keys *auth.KeySet) string {
	t.Helper()
	set, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, key := range set.Keys {
		names = append(names, key.KeyID)
	}
	return strings.Join(names, " ")
}
