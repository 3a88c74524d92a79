package gateway

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/search"
)

// The services behind the gateway, as its handlers need them. Those that take an owner (the principal's id) see that owner's objects and, of modules, bases and
// plugins, the shared ones; whatever else exists is fault.NotFound to them. once is the Idempotency-Key of a create, "" if there is
// none: the same owner, key and content get the first call's object, and other content is Conflict. Errors are faults with sentences
// for users. Implementations are safe for concurrent use.

// Page is a part of a list, newest first.
type Page struct {
	After string // Next of the page before, "" for the first page. It comes from a client: a wrong one is Invalid, about "cursor"
	Limit int    // the most items that are wanted, from 1 to 200
}

// List is a page.
type List[T any] struct {
	Items []T
	Next  string // what After must be for the next page: up to 128 letters, digits, dots, hyphens and underscores; "" after the last
}

// Content is a blob that is open.
type Content struct {
	io.ReadCloser
	Digest string // SHA-256, in hexadecimal
	Size   int64  // bytes
}

// Bases knows the base models.
type Bases interface {
	ListBases(ctx context.Context, owner string, page Page) (List[record.Base], error)
	Base(ctx context.Context, owner, id string) (record.Base, error)
}

// NewModule is what is said of a module when it is uploaded.
type NewModule struct {
	Name, Task, Author, Licence string
	Visibility                  record.Visibility
}

// Files are the parts of an upload, one after the other: "archive", or "adapter_config.json" and "adapter_model.safetensors" in either
// order. Next returns io.EOF after the last, and Invalid if one is missing or there are others. A part is read before the next is asked for.
type Files interface {
	Next() (name string, content io.Reader, err error)
}

// Modules keeps modules.
type Modules interface {
	// ListModules lists modules whose name, task or base contains search, whatever the case.
	ListModules(ctx context.Context, owner, search string, page Page) (List[record.Module], error)
	Module(ctx context.Context, owner, id string) (record.Module, error)
	UploadModule(ctx context.Context, owner string, module NewModule, files Files, once string) (record.Module, error)
	DeleteModule(ctx context.Context, owner, id string) error
	OpenModule(ctx context.Context, owner, id string) (Content, error) // a zip archive
}

// Event is a step of a composition, as a server-sent event.
type Event struct {
	ID   string // of letters, digits and hyphens; "" for one that nobody can go on after
	Kind string // as the specification has them
	Data json.RawMessage
}

// Events is a composition that somebody follows.
type Events interface {
	// Next waits for the next event. It returns io.EOF after the last one, and ctx's error when that comes first: then it may be called
	// again and misses nothing.
	Next(ctx context.Context) (Event, error)
	Close()
}

// Compositions runs compositions.
type Compositions interface {
	CreateComposition(ctx context.Context, owner string, request api.CompositionRequest, once string) (record.Composition, error)
	ListCompositions(ctx context.Context, owner string, state record.State, page Page) (List[record.Composition], error) // state "": all
	Composition(ctx context.Context, owner, id string) (record.Composition, error)
	CancelComposition(ctx context.Context, owner, id string) (record.Composition, error)
	// FollowComposition begins after the event whose id is given, or at the beginning if it is "" or no longer known.
	FollowComposition(ctx context.Context, owner, id, after string) (Events, error)
	OpenAdapter(ctx context.Context, owner, id string) (Content, error) // a zip archive; Conflict before there is one
	Report(ctx context.Context, owner, id string) ([]byte, error)       // an HTML page; Conflict before there is one
}

// Evaluations scores weights for optimizers elsewhere.
type Evaluations interface {
	OpenEvaluation(ctx context.Context, owner string, request api.EvaluationRequest, once string) (api.Evaluation, error)
	Evaluation(ctx context.Context, owner, id string) (api.Evaluation, error)
	// Score returns one score per candidate; Objective is not read.
	Score(ctx context.Context, owner, id string, candidates [][]float64) ([]search.Score, error)
	// Suggest names up to count modules of an evaluation, by their losses alone.
	Suggest(ctx context.Context, owner, id string, count int) (api.Suggestions, error)
	CloseEvaluation(ctx context.Context, owner, id string) error
}

// Generations answers prompts.
type Generations interface {
	// Generate calls write with each line as it comes, the last one having End, and stops at write's first error.
	Generate(ctx context.Context, owner string, request api.GenerationRequest, write func(api.GenerationLine) error) error
}

// Model is what a completion can name: a base, or an adapter on a base.
type Model struct {
	ID      string
	Created time.Time
	Owner   string // for people: a principal's id is nobody else's business
	Name    string // another name of it, "" for none
	Base    string // of an adapter
}

// Weighed is an adapter by its id or name, and its weight.
type Weighed struct {
	ID    string
	Scale float64
}

// Completion is what OpenAI's clients ask for.
type Completion struct {
	Model    string
	LoRA     []Weighed // on top of what the model has
	Prompts  []compute.Prompt
	N        int // answers to each prompt
	Sampling compute.Sampling
}

// Completions answers OpenAI's clients.
type Completions interface {
	ListModels(ctx context.Context, owner string) ([]Model, error)
	Model(ctx context.Context, owner, name string) (Model, error)
	// Complete answers each prompt N times: answer k to prompt p is number p·N + k. The listener hears of each text and end as they come. Errors
	// are about "model", "lora", "prompt" and "messages".
	Complete(ctx context.Context, owner string, asked Completion, l compute.Listener) ([]compute.Answer, error)
}

// NewPlugin is what is said of a plugin when it is uploaded.
type NewPlugin struct {
	Name       string
	Visibility record.Visibility
}

// Plugins keeps optimizers.
type Plugins interface {
	ListPlugins(ctx context.Context, owner string, page Page) (List[record.Plugin], error)
	Plugin(ctx context.Context, owner, id string) (record.Plugin, error)
	UploadPlugin(ctx context.Context, owner string, plugin NewPlugin, wasm io.Reader, once string) (record.Plugin, error)
	ValidatePlugin(ctx context.Context, wasm io.Reader) (api.Validation, error)
	DeletePlugin(ctx context.Context, owner, id string) error
}

// Grant is a token that was just made.
type Grant struct {
	ID     string // its jti
	Token  string
	TTL    time.Duration
	Scopes []string
}

// Tokens makes and revokes tokens and keys. Nobody gets a scope that its maker lacks: that is Forbidden.
type Tokens interface {
	CreateToken(ctx context.Context, maker Principal, scopes []string, ttl time.Duration) (Grant, error)
	ExchangeKey(ctx context.Context, secret string, scopes []string, ttl time.Duration) (Grant, error) // no scopes: all of the key's
	RevokeToken(ctx context.Context, maker Principal, id string) error
	ListKeys(ctx context.Context, owner string, page Page) (List[record.Key], error)
	// CreateKey returns the secret the first time only: it is not kept.
	CreateKey(ctx context.Context, maker Principal, request api.KeyRequest, once string) (key record.Key, secret string, err error)
	RevokeKey(ctx context.Context, owner, id string) error
	KeySet(ctx context.Context) ([]json.RawMessage, error) // public keys as JWKs (RFC 7517)
}

// Health looks at the parts that requests need.
type Health interface {
	// Ready returns what is wrong with each part, nil if nothing is.
	Ready(ctx context.Context) map[string]error
}

// Principal is who a request comes from.
type Principal struct {
	ID      string
	Scopes  []string
	TokenID string // the token's jti
	Expires time.Time
	Via     []string // what the token was made of
}

// Authorizer knows tokens.
type Authorizer interface {
	// Authorize finds out who sends the request and that they have scope. The errors are Unauthenticated, Forbidden and Unavailable.
	Authorize(c echo.Context, scope string) (Principal, error)
}

// Allowance is the answer of a rate limit, in the terms of draft-ietf-httpapi-ratelimit-headers.
type Allowance struct {
	Allowed   bool
	Limit     int64 // requests in a window
	Window    time.Duration
	Remaining int64         // requests that are still allowed now
	Reset     time.Duration // until all of Limit is free again
	Retry     time.Duration // until a request is allowed again
}

// Limits holds clients to rates.
type Limits interface {
	// Allow counts a request of an operation by who, a principal's id or, for public operations, "address " and the client's. Its error
	// means that nothing is known; the request is then allowed, for a lost counter is no reason to refuse work.
	Allow(ctx context.Context, who, operation string) (Allowance, error)
}

// Metrics tells what was counted.
type Metrics interface {
	// WriteMetrics writes Prometheus's text format.
	WriteMetrics(ctx context.Context, w io.Writer) error
}
