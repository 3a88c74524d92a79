package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"unicode/utf8"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// ListCompositions answers GET /v1/compositions.
func (g *gateway) ListCompositions(ctx context.Context, r api.ListCompositionsRequestObject) (api.ListCompositionsResponseObject, error) {
	l, err := g.Compositions.ListCompositions(ctx, principalOf(ctx).ID, r.Params.State, Page{r.Params.Cursor, r.Params.Limit})
	if err != nil {
		return nil, err
	}
	return api.ListCompositions200JSONResponse{Items: each(l.Items, Summary), Next: l.Next}, nil
}

// maxOptionName is the bound of propertyNames, which the check against the specification does not see.
const maxOptionName = 64

// CreateComposition answers POST /v1/compositions.
func (g *gateway) CreateComposition(ctx context.Context, r api.CreateCompositionRequestObject) (api.CreateCompositionResponseObject, error) {
	if r.Body.Holdout >= len(r.Body.Examples) {
		return nil, fault.New(fault.Invalid, "holdout", "must leave an example to search with")
	}
	for name := range r.Body.OptimizerOptions {
		if name == "" || utf8.RuneCountInString(name) > maxOptionName {
			return nil, fault.New(fault.Invalid, "optimizer_options", "must have names of 1 to %d characters", maxOptionName)
		}
	}
	c, err := g.Compositions.CreateComposition(ctx, principalOf(ctx).ID, *r.Body, r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	body, err := compositionOf(c)
	return api.CreateComposition202JSONResponse{
		Body: body, Headers: api.CreateComposition202ResponseHeaders{Location: "/v1/compositions/" + c.ID},
	}, err
}

// GetComposition answers GET /v1/compositions/{composition}.
func (g *gateway) GetComposition(ctx context.Context, r api.GetCompositionRequestObject) (api.GetCompositionResponseObject, error) {
	c, err := g.Compositions.Composition(ctx, principalOf(ctx).ID, r.Composition)
	if err != nil {
		return nil, err
	}
	body, err := compositionOf(c)
	return api.GetComposition200JSONResponse(body), err
}

// CancelComposition answers POST /v1/compositions/{composition}/cancel.
func (g *gateway) CancelComposition(ctx context.Context, r api.CancelCompositionRequestObject) (api.CancelCompositionResponseObject, error) {
	c, err := g.Compositions.CancelComposition(ctx, principalOf(ctx).ID, r.Composition)
	if err != nil {
		return nil, err
	}
	body, err := compositionOf(c)
	return api.CancelComposition202JSONResponse(body), err
}

// FollowComposition answers GET /v1/compositions/{composition}/events.
func (g *gateway) FollowComposition(ctx context.Context, r api.FollowCompositionRequestObject) (api.FollowCompositionResponseObject, error) {
	select {
	case g.streams <- struct{}{}:
	default:
		return nil, &waitError{fault.New(Unavailable, "", "there are as many event streams as this server serves"), reconnectTime}
	}
	leave := func() { <-g.streams }
	events, err := g.Compositions.FollowComposition(ctx, principalOf(ctx).ID, r.Composition, r.Params.LastEventID)
	if err != nil {
		leave()
		return nil, err
	}
	return eventStream{ctx: ctx, closing: g.Closing, events: events, beat: g.Heartbeat, leave: leave}, nil
}

// DownloadAdapter answers GET /v1/compositions/{composition}/adapter.
func (g *gateway) DownloadAdapter(ctx context.Context, r api.DownloadAdapterRequestObject) (api.DownloadAdapterResponseObject, error) {
	content, err := g.Compositions.OpenAdapter(ctx, principalOf(ctx).ID, r.Composition)
	if err != nil {
		return nil, err
	}
	return archive{content, r.Composition}, nil
}

// GetReport answers GET /v1/compositions/{composition}/report.
func (g *gateway) GetReport(ctx context.Context, r api.GetReportRequestObject) (api.GetReportResponseObject, error) {
	page, err := g.Compositions.Report(ctx, principalOf(ctx).ID, r.Composition)
	if err != nil {
		return nil, err
	}
	return reportPage{api.GetReport200TextHTMLResponse{Body: bytes.NewReader(page), ContentLength: int64(len(page))}}, nil
}

// OpenEvaluation answers POST /v1/evaluations.
func (g *gateway) OpenEvaluation(ctx context.Context, r api.OpenEvaluationRequestObject) (api.OpenEvaluationResponseObject, error) {
	e, err := g.Evaluations.OpenEvaluation(ctx, principalOf(ctx).ID, *r.Body, r.Params.IdempotencyKey)
	if err != nil {
		return nil, err
	}
	return api.OpenEvaluation201JSONResponse{
		Body: e, Headers: api.OpenEvaluation201ResponseHeaders{Location: "/v1/evaluations/" + e.ID},
	}, nil
}

// GetEvaluation answers GET /v1/evaluations/{evaluation}.
func (g *gateway) GetEvaluation(ctx context.Context, r api.GetEvaluationRequestObject) (api.GetEvaluationResponseObject, error) {
	e, err := g.Evaluations.Evaluation(ctx, principalOf(ctx).ID, r.Evaluation)
	return api.GetEvaluation200JSONResponse(e), err
}

// CloseEvaluation answers DELETE /v1/evaluations/{evaluation}.
func (g *gateway) CloseEvaluation(ctx context.Context, r api.CloseEvaluationRequestObject) (api.CloseEvaluationResponseObject, error) {
	return api.CloseEvaluation204Response{}, g.Evaluations.CloseEvaluation(ctx, principalOf(ctx).ID, r.Evaluation)
}

// ScoreCandidates answers POST /v1/evaluations/{evaluation}/scores.
func (g *gateway) ScoreCandidates(ctx context.Context, r api.ScoreCandidatesRequestObject) (api.ScoreCandidatesResponseObject, error) {
	scores, err := g.Evaluations.Score(ctx, principalOf(ctx).ID, r.Evaluation, r.Body.Weights)
	if err != nil {
		return nil, err
	}
	return scoresAnswer(scores), nil
}

// SuggestModules answers POST /v1/evaluations/{evaluation}/suggestions.
func (g *gateway) SuggestModules(ctx context.Context, r api.SuggestModulesRequestObject) (api.SuggestModulesResponseObject, error) {
	s, err := g.Evaluations.Suggest(ctx, principalOf(ctx).ID, r.Evaluation, r.Body.Count)
	return api.SuggestModules200JSONResponse(s), err
}

// Generate answers POST /v1/generations.
func (g *gateway) Generate(ctx context.Context, r api.GenerateRequestObject) (api.GenerateResponseObject, error) {
	if len(r.Body.Weights) != len(r.Body.Modules) {
		return nil, fault.New(fault.Invalid, "weights", "must be as many as modules: %d", len(r.Body.Modules))
	}
	return lineStream{
		problem: func(err error) api.Problem { return g.problem(ctx, err) },
		run: func(write func(api.GenerationLine) error) error {
			return g.Generations.Generate(ctx, principalOf(ctx).ID, *r.Body, write)
		},
	}, nil
}

// compositionOf is a composition with everything that is known of it.
func compositionOf(c record.Composition) (api.Composition, error) {
	all := Summary(c)
	all.Result = c.Result
	if err := json.Unmarshal(c.Request, &all.Request); err != nil {
		return all, fault.Wrap(err, fault.Internal, "", "the request of a composition is damaged")
	}
	return all, nil
}

// Summary is what lists and events show of a composition: neither its request nor its result, which may be large.
func Summary(c record.Composition) api.Composition {
	s := api.Composition{
		ID: c.ID, Created: c.Created.UTC(), Started: c.Started, Ended: c.Ended, State: c.State, Canceled: c.Canceled, Done: c.Done,
		Budget: c.Budget, Adapter: c.Adapter,
	}
	if c.Fault != nil {
		f := asFault(c.Fault)
		s.Problem = &api.Failure{Code: string(f.Code), Field: f.Field, Detail: f.Message}
		if f.Code == fault.Internal {
			s.Problem = &api.Failure{Code: string(f.Code), Detail: "something broke on the server"}
		}
	}
	return s
}
