package auth

import (
	"crypto"
	"crypto/sha256"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

const (
	maxSeen      = 4096    // tokens
	maxSeenToken = 2 << 10 // bytes; longer ones are verified anew each time
)

// signed is a token with a good signature, and no more: whether its key is still believed, its time has come and it was not revoked is
// looked at for each request. Nobody changes its claims.
type signed struct {
	by     *trust
	kid    string
	key    verifyKey
	claims jwt.MapClaims
	whose  *Principal // what its claims say, once somebody asked
}

// seen remembers signatures that were good, by the SHA-256 of the token. Verifying one takes thirty times
// as long as all else that the door does for a request.
type seen struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]signed
}

func (s *seen) get(text string) (signed, bool) {
	name := sha256.Sum256([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.tokens[name]
	return token, ok
}

// put remembers a token in place of any other when there are many.
func (s *seen) put(text string, token signed) {
	if len(text) > maxSeenToken {
		return
	}
	name := sha256.Sum256([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil {
		s.tokens = map[[sha256.Size]byte]signed{}
	}
	for other := range s.tokens {
		if len(s.tokens) < maxSeen {
			break
		}
		delete(s.tokens, other)
	}
	s.tokens[name] = token
}

// is says whether two keys are the same, for the same algorithm.
func (k verifyKey) is(other verifyKey) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.algorithm == other.algorithm && public.Equal(other.public)
}
