package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/medley-lora/medley/shared/fault"
)

const (
	remoteFresh   = 5 * time.Minute  // then the keys are asked for again, while those that are known go on
	remoteKeep    = time.Hour        // then they are not believed any more
	remotePause   = 30 * time.Second // between two questions, however many tokens name keys that there are not
	remoteTimeout = 5 * time.Second  // for an answer, from the first byte to the last
	remoteBytes   = 256 << 10        // of an answer
	remoteKeys    = 128              // of a set
)

// remote is the key set of another issuer, asked for when a token needs it. One question is under way at a time; an endpoint that is
// down, slow or talkative holds up none but the tokens whose keys are not known.
type remote struct {
	url    string
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	keys    map[string]verifyKey
	fetched time.Time     // when the keys came
	tried   time.Time     // when they were last asked for
	failure error         // why they did not come then
	asking  chan struct{} // closed when the question under way is answered; nil if there is none
}

func newRemote(url string, transport http.RoundTripper, now func() time.Time) *remote {
	return &remote{url: url, now: now, client: &http.Client{
		Transport: transport,
		Timeout:   remoteTimeout,
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if first := via[0].URL; next.URL.Host != first.Host || next.URL.Scheme != first.Scheme || len(via) > 3 {
				return fmt.Errorf("the redirect leads away")
			}
			return nil
		},
	}}
}

// key returns the key called kid. A known one is returned at once; an unknown one is asked for.
func (r *remote) key(ctx context.Context, kid string) (verifyKey, error) {
	key, known, answer := r.look(kid)
	if known || answer == nil {
		return key, r.missing(known)
	}
	select {
	case <-answer:
	case <-ctx.Done():
		return verifyKey{}, fault.Wrap(ctx.Err(), fault.Canceled, "", "the request was canceled")
	}
	key, known, _ = r.look(kid)
	return key, r.missing(known)
}

// look returns the key called kid if it is known and believed, and starts to ask for the keys if they are old or it is not among them.
// answer is closed when that has ended; it is nil if nobody asks.
func (r *remote) look(kid string) (key verifyKey, known bool, answer <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.fetched) < remoteKeep {
		key, known = r.keys[kid]
	}
	if stale := now.Sub(r.fetched) >= remoteFresh; r.asking == nil && (stale || !known) && now.Sub(r.tried) >= remotePause {
		r.tried, r.asking = now, make(chan struct{})
		go r.ask(r.asking)
	}
	return key, known, r.asking
}

// missing is the error for a key that was looked for: none if it is known. Without keys to look among, the token may be good.
func (r *remote) missing(known bool) error {
	if known {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now().Sub(r.fetched) >= remoteKeep {
		return fault.Wrap(r.failure, Unavailable, "", "the keys of the token's issuer cannot be had")
	}
	return refused("is signed with a key that is not known")
}

func (r *remote) ask(done chan struct{}) {
	keys, err := r.fetch()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil { // else those that are known go on for a while
		r.keys, r.fetched = keys, r.now()
	}
	r.asking, r.failure = nil, err
	close(done)
}

// fetch asks for the key set. It depends on no request, because others wait for it too.
func (r *remote) fetch() (map[string]verifyKey, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %d", response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, remoteBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > remoteBytes {
		return nil, fmt.Errorf("the answer is longer than %d bytes", remoteBytes)
	}
	return parseKeySet(data)
}

// parseKeySet reads the keys of a JWK set that can verify tokens; others are ignored (RFC 7517, section 5). Of two with one name the
// first counts.
func parseKeySet(data []byte) (map[string]verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > remoteKeys {
		return nil, fmt.Errorf("there are more than %d keys", remoteKeys)
	}
	keys := map[string]verifyKey{}
	for _, raw := range set.Keys {
		var jwk jose.JSONWebKey
		if json.Unmarshal(raw, &jwk) != nil || jwk.KeyID == "" || jwk.Use != "" && jwk.Use != "sig" {
			continue
		}
		algorithm := algorithmOf(jwk.Key)
		if _, has := keys[jwk.KeyID]; algorithm == "" || has || jwk.Algorithm != "" && jwk.Algorithm != algorithm {
			continue
		}
		keys[jwk.KeyID] = verifyKey{algorithm, jwk.Key}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key can verify tokens")
	}
	return keys, nil
}

// algorithmOf is the one algorithm that we use a public key for, "" for none. RSA is for 2,048 bits at least (RFC 7518, section 3.3), and
// for so few that verifying is no work.
func algorithmOf(public any) string {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA.Alg()
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= 2048 && bits <= 8192 {
			return jwt.SigningMethodRS256.Alg()
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			return jwt.SigningMethodES256.Alg()
		}
	}
	return ""
}
