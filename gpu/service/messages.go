package service

import (
	"slices"
	"strings"

	"github.com/medley-lora/medley/gpu/backend"
	"github.com/medley-lora/medley/gpu/engine"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/search"
	"github.com/medley-lora/medley/shared/task"
	"github.com/medley-lora/medley/shared/wire"
)

// Folder is a folder on the evaluator's machine and the name that errors call it by.
type Folder struct {
	Name string `json:"name"`
	Path string `json:"folder,omitempty"` // not for a Relay, which finds it
	// Digest, if set, is the SHA-256 of what the folder was made from, in hexadecimal: what is loaded from it is shared by all who give the
	// digest, and stays loaded for the next. Equal digests must mean equal contents.
	Digest string `json:"digest,omitempty"`
}

// Base is a base model that an evaluator has.
type Base struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // as Folder's
	Size   int64  `json:"size"`   // bytes
}

// Limits are engine.Options; a field that is zero has the default named there.
type Limits struct {
	Memory    int64 `json:"memory,omitempty"` // bytes
	MaxSource int   `json:"max_source,omitempty"`
	MaxTarget int   `json:"max_target,omitempty"`
}

func (l Limits) check() error {
	for _, n := range []int64{l.Memory, int64(l.MaxSource), int64(l.MaxTarget)} {
		if n < 0 {
			return fault.New(fault.Invalid, "limits", "%d is negative", n)
		}
	}
	if l.MaxSource == 1 || l.MaxTarget == 1 {
		return fault.New(fault.Invalid, "limits", "one token leaves no room beside the end token; at least 2 are expected")
	}
	return nil
}

func (l Limits) options() engine.Options {
	return engine.Options{Memory: l.Memory, MaxSource: l.MaxSource, MaxTarget: l.MaxTarget}
}

// OpenRequest asks for a session: a base model, and modules that every weight vector of the session weighs in this order.
// Errors about the base have the field that they have in gpu/engine, after the base's name unless that is empty.
type OpenRequest struct {
	Base    Folder   `json:"base"`
	Modules []Folder `json:"modules"` // unique names
	Method  string   `json:"method"`  // lora.Delta or lora.Product
	Limits  Limits   `json:"limits"`
}

// Backend is what an evaluator runs on, and why.
type Backend struct {
	Name    string `json:"name"`
	Device  string `json:"device"`
	Threads int    `json:"threads"` // 0 where it has no meaning
	Reason  string `json:"reason"`
}

func newBackend(i backend.Info, reason string) Backend {
	return Backend{Name: i.Name, Device: i.Device, Threads: i.Threads, Reason: reason}
}

// Health says that an evaluator answers.
type Health struct {
	Status   string `json:"status"` // "ok"
	Sessions int    `json:"sessions"`
	State
}

type basesReply struct {
	Bases []Base `json:"bases"`
}

type readyReply struct {
	Ready bool `json:"ready"`
}

type openReply struct {
	ID        string             `json:"id"`
	Backend   Backend            `json:"backend"`
	Quantised []engine.Quantised `json:"quantised,omitempty"`
}

type tokensRequest struct {
	Examples []task.Example `json:"examples"`
}

// tokensReply is task.Counts.
type tokensReply struct {
	Inputs   []int      `json:"inputs"`
	Tokens   []int      `json:"tokens"` // of outputs
	Pieces   [][]string `json:"pieces"`
	Warnings []string   `json:"warnings"`
}

type scoreRequest struct {
	Examples []task.Example  `json:"examples"`
	Weights  [][]wire.Number `json:"weights"`
}

type scoreReply struct {
	Scores []scoreMessage `json:"scores"`
}

// scoreMessage is a search.Score without the objective, which is the caller's.
type scoreMessage struct {
	Loss     wire.Number   `json:"loss"`
	Examples []wire.Number `json:"examples"`
	LogProbs []wire.Number `json:"log_probs"`
}

func newScoreMessage(s search.Score) scoreMessage {
	return scoreMessage{Loss: wire.Number(s.Loss), Examples: wire.Numbers(s.Examples), LogProbs: wire.Numbers(s.LogProbs)}
}

func (m scoreMessage) score() search.Score {
	return search.Score{Loss: float64(m.Loss), Examples: wire.Floats(m.Examples), LogProbs: wire.Floats(m.LogProbs)}
}

type generateRequest struct {
	Prompts  []engine.Prompt `json:"prompts"`
	Weights  []wire.Number   `json:"weights"`
	Sampling samplingMessage `json:"sampling"`
}

// samplingMessage is engine.Sampling.
type samplingMessage struct {
	MaxTokens   int         `json:"max_tokens,omitempty"`
	Temperature wire.Number `json:"temperature,omitempty"`
	TopK        int         `json:"top_k,omitempty"`
	TopP        wire.Number `json:"top_p,omitempty"`
	Seed        uint64      `json:"seed,omitempty,string"` // text, because JSON numbers of other languages hold 53 bits
	Stop        []string    `json:"stop,omitempty"`
}

func newSamplingMessage(s engine.Sampling) samplingMessage {
	return samplingMessage{s.MaxTokens, wire.Number(s.Temperature), s.TopK, wire.Number(s.TopP), s.Seed, s.Stop}
}

func (m samplingMessage) sampling() engine.Sampling {
	return engine.Sampling{
		MaxTokens: m.MaxTokens, Temperature: float64(m.Temperature), TopK: m.TopK, TopP: float64(m.TopP), Seed: m.Seed, Stop: m.Stop,
	}
}

// event is one line of the answer to a generateRequest. A stream whose last line is neither End nor Problem was cut off.
type event struct {
	Input   int            `json:"input"`
	Text    string         `json:"text,omitempty"` // what the input's answer goes on with
	Done    *answerMessage `json:"done,omitempty"` // the input's answer ends
	End     bool           `json:"end,omitempty"`  // every input is answered
	Problem *problem       `json:"problem,omitempty"`
}

// answerMessage is an engine.Answer without its text.
type answerMessage struct {
	Prompt  int    `json:"prompt"`
	Tokens  int    `json:"tokens"`
	Limited bool   `json:"limited,omitempty"`
	Warning string `json:"warning,omitempty"`
}

func newAnswerMessage(a engine.Answer) *answerMessage {
	return &answerMessage{a.Prompt, a.Tokens, a.Limited, a.Warning}
}

func (m *answerMessage) answer(text string) engine.Answer {
	return engine.Answer{Text: text, Prompt: m.Prompt, Tokens: m.Tokens, Limited: m.Limited, Warning: m.Warning}
}

// problem is a problem document (RFC 9457) with a fault's code and field as extensions.
type problem struct {
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail"`
	Code   fault.Code `json:"code"`
	Field  string     `json:"field,omitempty"`
}

const problemType = "application/problem+json"

func (p *problem) fault() error { return fault.New(p.Code, p.Field, "%s", p.Detail) }

// wholePrompt is a prompt of whole texts.
func wholePrompt(p engine.Prompt) engine.Prompt {
	p.Text, p.Messages = wholeText(p.Text), slices.Clone(p.Messages)
	for i := range p.Messages {
		p.Messages[i].Content = wholeText(p.Messages[i].Content)
	}
	return p
}

// wholeText is text as JSON can hold it. A tokenizer reads it as it reads text (see tokenizer.Encode); encoding/json alone would
// replace every byte that is not UTF-8, not every run of them.
func wholeText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
