package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/medley-lora/medley/shared/fault"
)

// endpoint is a transport that answers with a set of Ed25519 keys, or as a test says.
type endpoint struct {
	mu    sync.Mutex
	keys  []string // their names
	err   error
	delay time.Duration
	asked int
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.asked++
	keys, err, delay := e.keys, e.err, e.delay
	e.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	answer := httptest.NewRecorder()
	_, _ = answer.Write(setOf(keys...))
	return answer.Result(), nil
}

func (e *endpoint) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// setOf is a JWK set of keys with these names.
func setOf(names ...string) []byte {
	var set jose.JSONWebKeySet
	for i, name := range names {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = byte(i)
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: ed25519.NewKeyFromSeed(seed).Public(), KeyID: name})
	}
	data, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return data
}

// TestRemoteAges follows a provider through a day, on a clock that runs by itself.
func TestRemoteAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{keys: []string{"a"}}
		r := newRemote("https://okta.test/keys", e, time.Now)
		expect := func(when, kid string, want fault.Code, asked int) {
			t.Helper()
			begun := time.Now()
			_, err := r.key(t.Context(), kid)
			if fault.CodeOf(err) != want {
				t.Errorf("%s: %v, want %q", when, err, want)
			}
			if waited := time.Since(begun); waited > remoteTimeout {
				t.Errorf("%s: waited %v", when, waited)
			}
			synctest.Wait()
			e.change(func() {
				if e.asked != asked {
					t.Errorf("%s: asked %d times, want %d", when, e.asked, asked)
				}
			})
		}
		expect("first", "a", "", 1)
		expect("again", "a", "", 1)
		expect("unknown, a moment later", "b", Unauthenticated, 1)
		time.Sleep(remotePause)
		e.change(func() { e.keys = []string{"b", "a"} })
		expect("rotated", "b", "", 2)
		for range 100 {
			expect("a flood of unknown names", "x", Unauthenticated, 2)
		}
		time.Sleep(remoteFresh)
		e.change(func() { e.keys, e.delay = []string{"b"}, time.Second })
		expect("old keys go on while new ones are asked for", "a", "", 3)
		time.Sleep(2 * time.Second)
		expect("withdrawn", "a", Unauthenticated, 3)

		e.change(func() { e.err, e.delay = errors.New("no route to 10.0.0.1"), 0 })
		time.Sleep(remoteFresh)
		expect("down", "b", "", 4)
		expect("down, unknown", "x", Unauthenticated, 4)
		time.Sleep(remoteKeep - remoteFresh - 2*time.Second)
		expect("down for nearly an hour", "b", "", 5)
		time.Sleep(remotePause)
		expect("down for an hour", "b", Unavailable, 6)
		for range 100 {
			expect("down, a moment later", "b", Unavailable, 6)
		}
		e.change(func() { e.err, e.delay = nil, time.Hour })
		time.Sleep(remotePause)
		expect("silent", "b", Unavailable, 7)
		e.change(func() { e.delay = 0 })
		time.Sleep(remotePause)
		expect("up", "b", "", 8)
	})
}

// TestRemoteWaits has requests leave before the answer comes.
func TestRemoteWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{keys: []string{"a"}, delay: 2 * time.Second}
		r := newRemote("https://okta.test/keys", e, time.Now)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.key(ctx, "a"); fault.CodeOf(err) != fault.Canceled {
			t.Error(err)
		}
		if _, err := r.key(t.Context(), "a"); err != nil || e.asked != 1 { // the question goes on for others
			t.Errorf("%v, asked %d times", err, e.asked)
		}
	})
}

// TestBadInput_51_JWKS has an endpoint answer what it should not.
func TestBadInput_51_JWKS(t *testing.T) {
	good := setOf("a")
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a redirect to another host is followed")
		_, _ = w.Write(good)
	}))
	defer other.Close()
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		ok    bool
	}{
		"good":          {says(good), true},
		"charset, more": {says([]byte(`{"keys":[{"kty":"what","kid":"x"},7,null,` + string(good[len(`{"keys":[`):len(good)-2]) + `],"more":1}`)), true},
		"same host": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/moved", http.StatusFound)
				return
			}
			_, _ = w.Write(good)
		}, true},
		"another host": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, false},
		"a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, false},
		"in circles":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) }, false},
		"404":           {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); _, _ = w.Write(good) }, false},
		"500":           {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, false},
		"nothing":       {says(nil), false},
		"HTML":          {says([]byte("<html>")), false},
		"no keys":       {says([]byte(`{"keys":[]}`)), false},
		"keys a string": {says([]byte(`{"keys":"a"}`)), false},
		"none is good":  {says([]byte(`{"keys":[{"kty":"oct","kid":"a","k":"AAAA"},{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"}]}`)), false},
		"no names":      {says(setOf("")), false},
		"too many":      {says(setOf(strings.Split(strings.Repeat("a,", remoteKeys), ",")...)), false},
		"deep":          {says([]byte(strings.Repeat("[", 100_000))), false},
		"10 MB":         {says([]byte(`{"keys":[` + strings.Repeat(" ", 10<<20) + `]}`)), false},
		"drops out": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(good)
		}, false},
		"never ends": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.serve)
			defer server.Close()
			r := newRemote(server.URL+"/keys", nil, time.Now)
			r.client.Timeout = 300 * time.Millisecond
			_, err := r.key(t.Context(), "a")
			if (err == nil) != c.ok || err != nil && (fault.CodeOf(err) != Unavailable || errors.Unwrap(err) == nil || strings.Contains(err.Error(), "127.0.0.1")) {
				t.Errorf("%v, because of %v", err, errors.Unwrap(err))
			}
		})
	}
}

func says(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
}

func TestParseKeySet(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p384.Public(), KeyID: "p384"}}})
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := parseKeySet(data); err == nil {
		t.Errorf("P-384: %v", keys)
	}
	twice := setOf("a", "a")
	keys, err := parseKeySet(twice)
	first, ferr := parseKeySet(setOf("a"))
	if err != nil || ferr != nil || len(keys) != 1 || fmt.Sprint(keys) != fmt.Sprint(first) {
		t.Errorf("two of one name: %v, %v, %v", keys, err, ferr)
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(setOf("a", "b"))
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","kid":"c","x":"AA","y":"AA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseKeySet(data)
		if (err == nil) != (len(keys) > 0) || len(keys) > remoteKeys {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for kid, key := range keys {
			if kid == "" || key.algorithm == "" || algorithmOf(key.public) != key.algorithm {
				t.Errorf("%q: %+v", kid, key)
			}
		}
	})
}

// FuzzAPIKey: whatever has the form of an API key is the key of its own 256 bits, written the one way.
func FuzzAPIKey(f *testing.F) {
	f.Add(newSecret())
	f.Add("mdl_" + strings.Repeat("a", 56))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		made := newSecret()
		if !isSecret(made) || len(made) != 60 {
			t.Fatalf("%q is not what we make", made)
		}
		if !isSecret(s) {
			return
		}
		data, err := base32Lower.DecodeString(s[len(keyPrefix):])
		if err != nil || keyPrefix+base32Lower.EncodeToString(data) != s {
			t.Errorf("%q has another form: %v", s, err)
		}
		if changed := "mdl_" + flipped(s[4:]); isSecret(changed) {
			t.Errorf("%q passes, and %q too", s, changed)
		}
	})
}

// flipped changes the first digit.
func flipped(digits string) string {
	if digits[0] == 'a' {
		return "b" + digits[1:]
	}
	return "a" + digits[1:]
}
