package platform

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/edge/redis"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
)

// facts is what was found out when an evaluation was opened. The digests stay those of then, whatever becomes of the modules' records.
type facts struct {
	Inputs   []int            `json:"inputs"`
	Tokens   []int            `json:"tokens"`
	Pieces   [][]string       `json:"pieces"`
	Warnings []string         `json:"warnings"`
	Backend  string           `json:"backend"`
	Modules  []compute.Module `json:"modules"`
}

// session is an evaluation as requests need it.
type session struct {
	record.Session
	request api.EvaluationRequest
	facts   facts
	about   func() ([sha256.Size]byte, error) // aboutExamples of the request's
}

func (s *session) spec() compute.Spec {
	return compute.Spec{Base: s.request.Base, Modules: s.facts.Modules, Method: s.request.Method}
}

func (s *session) answer() api.Evaluation {
	return api.Evaluation{
		ID: s.ID, Base: s.request.Base, Modules: s.request.Modules, Method: s.request.Method, Tokens: s.facts.Tokens, Warnings: s.facts.Warnings,
		InputTokens: s.facts.Inputs, Pieces: s.facts.Pieces, Backend: s.facts.Backend, Expires: s.Expires.UTC(),
	}
}

func sessionOf(r record.Session) (*session, error) {
	s := &session{Session: r, facts: facts{Inputs: []int{}, Pieces: [][]string{}}} // which records of before have not
	err := json.Unmarshal(r.Request, &s.request)
	if err == nil {
		err = json.Unmarshal(r.Facts, &s.facts)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "", "the record of an evaluation is damaged")
	}
	s.about = sync.OnceValues(func() ([sha256.Size]byte, error) { return aboutExamples(s.request.Examples) })
	return s, nil
}

// OpenEvaluation opens the model, counts tokens and records the evaluation.
func (p *Platform) OpenEvaluation(ctx context.Context, owner string, r api.EvaluationRequest, once string) (none api.Evaluation, err error) {
	f := facts{Warnings: []string{}}
	if f.Modules, err = p.known(ctx, owner, r.Base, r.Modules); err != nil {
		return none, err
	}
	model, leave, err := p.pool.take(ctx, compute.Spec{Base: r.Base, Modules: f.Modules, Method: r.Method})
	if err != nil {
		return none, err
	}
	defer leave()
	counts, err := model.Count(ctx, r.Examples)
	if err != nil {
		return none, err
	}
	f.Inputs, f.Tokens, f.Pieces, f.Backend = counts.Inputs, counts.Outputs, counts.Pieces, model.Backend()
	f.Warnings = append(f.Warnings, counts.Warnings...)
	made, err := p.recordSession(ctx, owner, r, f, once)
	if err != nil {
		return none, conflict(err)
	}
	s, err := sessionOf(made)
	if err != nil {
		return none, err
	}
	return s.answer(), nil
}

func (p *Platform) recordSession(ctx context.Context, owner string, r api.EvaluationRequest, f facts, once string) (none record.Session, err error) {
	v := record.Session{Object: record.Object{Owner: owner}}
	if v.Request, err = json.Marshal(r); err != nil {
		return none, err
	}
	if v.Facts, err = json.Marshal(f); err != nil {
		return none, err
	}
	o, err := onceOf(once, r)
	if err != nil {
		return none, err
	}
	return p.Store.CreateSession(ctx, v, p.Session, o)
}

// find reads an evaluation.
func (p *Platform) find(ctx context.Context, owner, id string) (*session, error) {
	key := owner + " " + id
	if s, ok := p.opened.get(key); ok {
		return s, nil
	}
	r, err := p.Store.Session(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	s, err := sessionOf(r)
	if err == nil {
		p.opened.put(key, s, r.Expires)
	}
	return s, err
}

// Evaluation inspects an evaluation.
func (p *Platform) Evaluation(ctx context.Context, owner, id string) (api.Evaluation, error) {
	s, err := p.find(ctx, owner, id)
	if err != nil {
		return api.Evaluation{}, err
	}
	return s.answer(), nil
}

// Score scores candidates. Those that are remembered cost neither an evaluator's time nor a quota.
func (p *Platform) Score(ctx context.Context, owner, id string, candidates [][]float64) ([]search.Score, error) {
	s, err := p.find(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	for _, w := range candidates {
		if len(w) != len(s.facts.Modules) {
			return nil, fault.New(fault.Invalid, "weights", "must be as many as modules: %d", len(s.facts.Modules))
		}
	}
	model := p.Scores.Cached(s.spec(), &lazily{p: p, spec: s.spec(), backend: s.facts.Backend})
	if r, ok := model.(*remembering); ok {
		r.about = s.about
		r.spend = func(ctx context.Context, n int) error {
			_, err := p.reserve(ctx, owner, "", redis.Quota{Name: "evaluations", Limit: p.Quotas.Evaluations}, int64(n))
			return err
		}
	}
	return model.Score(ctx, s.request.Examples, candidates)
}

// CloseEvaluation ends an evaluation.
func (p *Platform) CloseEvaluation(ctx context.Context, owner, id string) error {
	p.opened.forget(owner + " " + id)
	return p.Store.CloseSession(ctx, owner, id)
}

var _ gateway.Evaluations = (*Platform)(nil)
