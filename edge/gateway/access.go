package gateway

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/record"
)

// CreateToken answers POST /v1/tokens.
func (g *gateway) CreateToken(ctx context.Context, r api.CreateTokenRequestObject) (api.CreateTokenResponseObject, error) {
	grant, err := g.Tokens.CreateToken(ctx, principalOf(ctx), r.Body.Scopes, time.Duration(r.Body.TTL)*time.Second)
	return api.CreateToken201JSONResponse(tokenOf(grant)), err
}

// ExchangeKey answers POST /v1/tokens/exchange.
func (g *gateway) ExchangeKey(ctx context.Context, r api.ExchangeKeyRequestObject) (api.ExchangeKeyResponseObject, error) {
	grant, err := g.Tokens.ExchangeKey(ctx, r.Body.Key, r.Body.Scopes, time.Duration(r.Body.TTL)*time.Second)
	return api.ExchangeKey200JSONResponse(tokenOf(grant)), err
}

// RevokeToken answers DELETE /v1/tokens/{token}.
func (g *gateway) RevokeToken(ctx context.Context, r api.RevokeTokenRequestObject) (api.RevokeTokenResponseObject, error) {
	return api.RevokeToken204Response{}, g.Tokens.RevokeToken(ctx, principalOf(ctx), r.Token)
}

// ListKeys answers GET /v1/keys.
func (g *gateway) ListKeys(ctx context.Context, r api.ListKeysRequestObject) (api.ListKeysResponseObject, error) {
	l, err := g.Tokens.ListKeys(ctx, principalOf(ctx).ID, Page{r.Params.Cursor, r.Params.Limit})
	if err != nil {
		return nil, err
	}
	return api.ListKeys200JSONResponse{Items: each(l.Items, keyOf), Next: l.Next}, nil
}

// CreateKey answers POST /v1/keys.
func (g *gateway) CreateKey(ctx context.Context, r api.CreateKeyRequestObject) (api.CreateKeyResponseObject, error) {
	key, secret, err := g.Tokens.CreateKey(ctx, principalOf(ctx), *r.Body, r.Params.IdempotencyKey)
	return api.CreateKey201JSONResponse{Key: keyOf(key), Secret: secret}, err
}

// RevokeKey answers DELETE /v1/keys/{key}.
func (g *gateway) RevokeKey(ctx context.Context, r api.RevokeKeyRequestObject) (api.RevokeKeyResponseObject, error) {
	return api.RevokeKey204Response{}, g.Tokens.RevokeKey(ctx, principalOf(ctx).ID, r.Key)
}

// GetKeySet answers GET /.well-known/jwks.json.
func (g *gateway) GetKeySet(ctx context.Context, _ api.GetKeySetRequestObject) (api.GetKeySetResponseObject, error) {
	keys, err := g.Tokens.KeySet(ctx)
	return api.GetKeySet200JSONResponse{Keys: keys}, err
}

// GetHealth answers GET /healthz.
func (g *gateway) GetHealth(context.Context, api.GetHealthRequestObject) (api.GetHealthResponseObject, error) {
	return api.GetHealth200JSONResponse{Status: "ok"}, nil
}

// readyTime bounds how long a part may take to say that it is there.
const readyTime = 5 * time.Second

// GetReadiness answers GET /readyz. It is public, so what is wrong with a part is for the log only.
func (g *gateway) GetReadiness(ctx context.Context, _ api.GetReadinessRequestObject) (api.GetReadinessResponseObject, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	answer := api.Readiness{Ready: true, Checks: map[string]string{}}
	for part, err := range g.Health.Ready(ctx) {
		answer.Checks[part] = "ok"
		if err != nil {
			g.Log.WarnContext(ctx, "not ready", "part", part, "cause", err)
			answer.Ready, answer.Checks[part] = false, "failing"
		}
	}
	if !answer.Ready {
		return api.GetReadiness503JSONResponse(answer), nil
	}
	return api.GetReadiness200JSONResponse(answer), nil
}

// metricsPage is Prometheus's text format, with the version that its scrapers look for.
type metricsPage []byte

// VisitGetMetricsResponse writes the page.
func (m metricsPage) VisitGetMetricsResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(m)
	return err
}

// GetMetrics answers GET /metrics.
func (g *gateway) GetMetrics(ctx context.Context, _ api.GetMetricsRequestObject) (api.GetMetricsResponseObject, error) {
	var page bytes.Buffer
	err := g.Metrics.WriteMetrics(ctx, &page)
	return metricsPage(page.Bytes()), err
}

func tokenOf(g Grant) api.Token {
	return api.Token{ID: g.ID, Token: g.Token, TokenType: "Bearer", ExpiresIn: int(g.TTL / time.Second), Scope: strings.Join(g.Scopes, " ")}
}

func keyOf(k record.Key) api.Key {
	return api.Key{ID: k.ID, Name: k.Name, Scopes: each(k.Scopes, func(s string) string { return s }), Created: k.Created.UTC(), Expires: k.Expires, Revoked: k.Revoked}
}
