package gateway

import (
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/compute"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

const (
	maxAnswers        = 64  // to a request
	defaultChatTokens = 512 // of an answer
)

// ListModels answers GET /v1/models.
func (g *gateway) ListModels(ctx context.Context, _ api.ListModelsRequestObject) (api.ListModelsResponseObject, error) {
	models, err := g.Completions.ListModels(ctx, principalOf(ctx).ID)
	if err != nil {
		return nil, err
	}
	return api.ListModels200JSONResponse{Object: "list", Data: each(models, modelOf)}, nil
}

// GetModel answers GET /v1/models/{model}.
func (g *gateway) GetModel(ctx context.Context, r api.GetModelRequestObject) (api.GetModelResponseObject, error) {
	m, err := g.Completions.Model(ctx, principalOf(ctx).ID, r.Model)
	return api.GetModel200JSONResponse(modelOf(m)), err
}

func modelOf(m Model) api.Model {
	return api.Model{ID: m.ID, Object: "model", Created: m.Created.Unix(), OwnedBy: m.Owner, Name: m.Name, Base: m.Base}
}

// CreateCompletion answers POST /v1/completions.
func (g *gateway) CreateCompletion(ctx context.Context, r api.CreateCompletionRequestObject) (api.CreateCompletionResponseObject, error) {
	b := r.Body
	c := g.completing(ctx, Completion{Model: b.Model, N: b.N, Sampling: compute.Sampling{
		MaxTokens: b.MaxTokens, TopK: b.TopK, Temperature: *b.Temperature, TopP: *b.TopP, Seed: seedOf(b.Seed), Stop: b.Stop,
	}}, b.Lora)
	for _, text := range b.Prompt {
		c.asked.Prompts = append(c.asked.Prompts, compute.Prompt{Text: text, Whole: true})
		if b.Echo {
			c.echoed = append(c.echoed, text)
		}
	}
	c.form, c.stream, c.usage = textForm, b.Stream, b.StreamOptions != nil && b.StreamOptions.IncludeUsage
	return c, c.check()
}

// CreateChatCompletion answers POST /v1/chat/completions.
func (g *gateway) CreateChatCompletion(ctx context.Context, r api.CreateChatCompletionRequestObject) (api.CreateChatCompletionResponseObject, error) {
	b := r.Body
	most := defaultChatTokens
	switch {
	case b.MaxCompletionTokens != 0 && b.MaxTokens != 0 && b.MaxCompletionTokens != b.MaxTokens:
		return nil, fault.New(fault.Invalid, "max_tokens", "is another number than max_completion_tokens")
	case b.MaxCompletionTokens != 0 || b.MaxTokens != 0:
		most = max(b.MaxCompletionTokens, b.MaxTokens)
	}
	c := g.completing(ctx, Completion{Model: b.Model, N: b.N, Sampling: compute.Sampling{
		MaxTokens: most, TopK: b.TopK, Temperature: *b.Temperature, TopP: *b.TopP, Seed: seedOf(b.Seed), Stop: b.Stop,
	}}, b.Lora)
	c.asked.Prompts = []compute.Prompt{{Messages: each(b.Messages, messageOf)}}
	c.form, c.stream, c.usage = chatForm, b.Stream, b.StreamOptions != nil && b.StreamOptions.IncludeUsage
	return c, c.check()
}

func messageOf(m api.ChatMessage) compute.Message {
	if m.Role == "developer" { // the newer name, which templates do not know
		m.Role = "system"
	}
	return compute.Message{Role: m.Role, Content: string(m.Content)}
}

// seedOf is the request's seed, or a new one.
func seedOf(seed *int64) uint64 {
	if seed == nil {
		return rand.Uint64()
	}
	return uint64(*seed) //nolint:gosec // any 64 bits are a seed
}

// completing is a completion under way, and the answer to it.
type completing struct {
	*gateway
	ctx    context.Context
	asked  Completion
	echoed []string // what comes before the answers to each prompt; nil for nothing
	form   form
	stream bool // as server-sent events
	usage  bool // with the tokens in a stream's last chunk

	id      string
	created int64
}

func (g *gateway) completing(ctx context.Context, asked Completion, lora []api.LoRA) *completing {
	if asked.Sampling.TopP == 0 { // the likeliest token alone
		asked.Sampling.TopP = math.SmallestNonzeroFloat64
	}
	asked.LoRA = each(lora, func(l api.LoRA) Weighed { return Weighed{l.ID, l.Scale} })
	return &completing{gateway: g, ctx: ctx, asked: asked, created: time.Now().Unix()}
}

func (c *completing) check() error {
	if n := len(c.asked.Prompts) * c.asked.N; n > maxAnswers {
		return fault.New(fault.Invalid, "n", "times the prompts makes %d answers; the limit is %d", n, maxAnswers)
	}
	c.id = record.NewID(c.form.prefix)
	return nil
}

// VisitCreateCompletionResponse writes the answer.
func (c *completing) VisitCreateCompletionResponse(w http.ResponseWriter) error { return c.write(w) }

// VisitCreateChatCompletionResponse writes the answer.
func (c *completing) VisitCreateChatCompletionResponse(w http.ResponseWriter) error {
	return c.write(w)
}

func (c *completing) write(w http.ResponseWriter) error {
	if c.stream {
		return c.writeChunks(w)
	}
	texts := make([]strings.Builder, len(c.asked.Prompts)*c.asked.N)
	for i := range texts {
		texts[i].WriteString(c.before(i))
	}
	answers, err := c.Completions.Complete(c.ctx, principalOf(c.ctx).ID, c.asked, compute.Listener{
		Text: func(i int, text string) { texts[i].WriteString(text) },
		Done: func(int, compute.Answer) {},
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(c.form.whole(c, texts, answers))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(append(data, '\n'))
	return err
}

// before is what comes before answer i.
func (c *completing) before(i int) string {
	if c.echoed == nil {
		return ""
	}
	return c.echoed[i/c.asked.N]
}

// used counts each prompt once, however many answers it has.
func (c *completing) used(answers []compute.Answer) (u api.Usage) {
	for i, a := range answers {
		u.CompletionTokens += a.Tokens
		if i%c.asked.N == 0 {
			u.PromptTokens += a.Prompt
		}
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

func finishOf(a compute.Answer) string {
	if a.Limited {
		return "length"
	}
	return "stop"
}

// form is which of OpenAI's two forms an answer has.
type form struct {
	prefix string // of ids
	chunk  string // what a chunk calls itself
	whole  func(c *completing, texts []strings.Builder, answers []compute.Answer) any
	// piece is a choice of a chunk: text that answer i goes on with, first whether it is the answer's first, finish "" until it ends.
	piece func(i int, text string, first bool, finish string) choice
}

var textForm = form{prefix: "cmpl", chunk: "text_completion",
	whole: func(c *completing, texts []strings.Builder, answers []compute.Answer) any {
		all := api.Completion{ID: c.id, Object: "text_completion", Created: c.created, Model: c.asked.Model, Usage: c.used(answers)}
		for i, a := range answers {
			all.Choices = append(all.Choices, api.CompletionChoice{Index: i, Text: texts[i].String(), FinishReason: finishOf(a)})
		}
		return all
	},
	piece: func(i int, text string, _ bool, finish string) choice {
		return choice{Index: i, Text: &text, FinishReason: orNull(finish)}
	},
}

var chatForm = form{prefix: "chatcmpl", chunk: "chat.completion.chunk",
	whole: func(c *completing, texts []strings.Builder, answers []compute.Answer) any {
		all := api.ChatCompletion{ID: c.id, Object: "chat.completion", Created: c.created, Model: c.asked.Model, Usage: c.used(answers)}
		for i, a := range answers {
			all.Choices = append(all.Choices, api.ChatChoice{
				Index: i, Message: api.ChatAnswer{Role: assistant, Content: texts[i].String()}, FinishReason: finishOf(a),
			})
		}
		return all
	},
	piece: func(i int, text string, first bool, finish string) choice {
		d := &delta{}
		if first {
			d.Role, d.Content = assistant, &text
		} else if text != "" {
			d.Content = &text
		}
		return choice{Index: i, Delta: d, FinishReason: orNull(finish)}
	},
}

const assistant = "assistant"

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
