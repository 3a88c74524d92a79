package platform

import (
	"context"
	"encoding/json"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/auth"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/edge/store"
)

// Authorize lets in who has scope.
func (p *Platform) Authorize(c echo.Context, scope string) (gateway.Principal, error) {
	if err := p.Authority.Admit(c, auth.Scope(scope)); err != nil {
		return gateway.Principal{}, err
	}
	who, _ := auth.FromContext(c.Request().Context())
	return gateway.Principal{ID: who.ID, Scopes: names(who.Scopes), TokenID: who.TokenID, Expires: who.Expires, Via: who.Via}, nil
}

func names(scopes []auth.Scope) []string {
	all := make([]string, len(scopes))
	for i, s := range scopes {
		all[i] = string(s)
	}
	return all
}

func principalOf(who gateway.Principal) auth.Principal {
	p := auth.Principal{ID: who.ID, TokenID: who.TokenID, Expires: who.Expires, Via: who.Via}
	for _, s := range who.Scopes {
		p.Scopes = append(p.Scopes, auth.Scope(s))
	}
	return p
}

// CreateToken makes a token of a token.
func (p *Platform) CreateToken(_ context.Context, maker gateway.Principal, scopes []string, ttl time.Duration) (gateway.Grant, error) {
	return grantOf(p.Authority.Create(principalOf(maker), auth.Request{Scopes: scopes, TTL: ttl}))
}

// ExchangeKey makes a token of an API key.
func (p *Platform) ExchangeKey(ctx context.Context, secret string, scopes []string, ttl time.Duration) (gateway.Grant, error) {
	return grantOf(p.Authority.Exchange(ctx, secret, auth.Request{Scopes: scopes, TTL: ttl}))
}

func grantOf(t auth.Token, err error) (gateway.Grant, error) {
	return gateway.Grant{ID: t.ID, Token: t.Text, TTL: time.Until(t.Expires).Round(time.Second), Scopes: names(t.Scopes)}, err
}

// RevokeToken refuses a token of the maker's from now on.
func (p *Platform) RevokeToken(ctx context.Context, maker gateway.Principal, id string) error {
	return p.Authority.Revoke(ctx, maker.ID, id)
}

// ListKeys lists keys.
func (p *Platform) ListKeys(ctx context.Context, owner string, page gateway.Page) (gateway.List[record.Key], error) {
	return listOf(p.Store.Keys(ctx, owner, pageOf(page)))
}

// CreateKey makes an API key. The secret of one that was made before is gone.
func (p *Platform) CreateKey(ctx context.Context, maker gateway.Principal, r api.KeyRequest, once string) (key record.Key, secret string, err error) {
	fresh, secret, err := p.Authority.NewKey(principalOf(maker), auth.KeyRequest{Name: r.Name, Scopes: r.Scopes, Expires: r.Expires})
	if err != nil {
		return key, "", err
	}
	o, err := onceOf(once, r)
	if err != nil {
		return key, "", err
	}
	key, err = p.Store.CreateKey(ctx, fresh, o)
	if err != nil {
		return key, "", conflict(err)
	}
	if string(key.Hash) != string(fresh.Hash) {
		secret = ""
	}
	return key, secret, nil
}

// RevokeKey ends a key and the tokens that were made of it.
func (p *Platform) RevokeKey(ctx context.Context, owner, id string) error {
	if _, err := p.Store.RevokeKey(ctx, owner, id); err != nil {
		return err
	}
	return p.Authority.Revoke(ctx, owner, id)
}

// KeySet is the public keys.
func (p *Platform) KeySet(context.Context) ([]json.RawMessage, error) {
	set, err := p.Keys.Public()
	if err != nil {
		return nil, err
	}
	all := make([]json.RawMessage, len(set.Keys))
	for i := range set.Keys {
		if all[i], err = set.Keys[i].MarshalJSON(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Allow counts a request.
func (p *Platform) Allow(ctx context.Context, who, operation string) (gateway.Allowance, error) {
	name, rate := "api", p.Rate
	if operation == "exchangeKey" || operation == "getKeySet" {
		name, rate = "door", p.Door
	}
	a, err := p.limits.Allow(ctx, name, who, rate, 1)
	return gateway.Allowance{
		Allowed: a.Allowed, Limit: a.Limit, Window: time.Duration(float64(rate.Per) / float64(rate.Count) * float64(rate.Burst)),
		Remaining: a.Remaining, Reset: a.Reset, Retry: a.Retry,
	}, err
}

// revocationLog is the store as the record of truth behind revocations in Redis.
type revocationLog struct{ *store.Store }

// Append records a revocation.
func (l revocationLog) Append(ctx context.Context, r redis.Revocation) error {
	return l.Revoke(ctx, r.ID, r.Until)
}

// Live returns those that count.
func (l revocationLog) Live(ctx context.Context) ([]redis.Revocation, error) {
	live, err := l.Revocations(ctx)
	all := make([]redis.Revocation, len(live))
	for i, r := range live {
		all[i] = redis.Revocation{ID: r.ID, Until: r.Until}
	}
	return all, err
}
