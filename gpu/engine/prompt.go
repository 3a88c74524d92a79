package engine

import (
	"cmp"

	"github.com/medley-lora/medley/gpu/chat"
	"github.com/medley-lora/medley/shared/fault"
)

// Prompt is what an answer is to: a text, or a conversation.
type Prompt struct {
	Text string `json:"text,omitempty"`
	// Messages are a conversation, which the base's chat template makes a text of; without any, Text is read. One that is too long is refused.
	Messages []chat.Message `json:"messages,omitempty"`
	// Whole takes Text as it is, with nothing put around it; one that is too long is refused instead of cut, and the answer keeps the space
	// that separates it from the text.
	Whole bool `json:"whole,omitempty"`
	// Salt keeps what was computed for a prompt from those with another: whose prompt begins as somebody else's did would see it by the time
	// that it takes.
	Salt string `json:"salt,omitempty"`
}

// Texts are prompts of texts.
func Texts(inputs []string) []Prompt {
	prompts := make([]Prompt, len(inputs))
	for i, text := range inputs {
		prompts[i].Text = text
	}
	return prompts
}

// maxPrompt bounds prompts that are not cut, in tokens: however many positions a model was made for, one pass takes them in.
const maxPrompt = 8192

// room is the most tokens of a prompt that is not cut: those of the model's positions, or of MaxSource where it has none.
func (e *Engine) room() int { return min(cmp.Or(e.model.context(), e.options.MaxSource), maxPrompt) }

// EncodePrompt turns a prompt into tokens; the warning says whether it was cut. The errors are about "messages", "chat_template" and, for a
// text that is too long, "prompt".
func (e *Engine) EncodePrompt(p Prompt) (ids []int32, warning string, err error) {
	field := "messages"
	switch {
	case len(p.Messages) > 0 && e.template.Text == "":
		return nil, "", fault.New(fault.Unsupported, field, "cannot be answered: the base has no chat template")
	case len(p.Messages) > 0:
		text, err := e.template.Render(p.Messages)
		if err != nil {
			return nil, "", err
		}
		ids = e.Tokenizer.EncodeBare(text) // which has what begins a text
		if len(ids) == 0 {
			return nil, "", fault.New(fault.Invalid, field, "are nothing in the base's chat template")
		}
	case p.Whole:
		field = "prompt"
		ids = e.model.plain(e.Tokenizer, p.Text)
	default:
		ids, warning = e.EncodeInput(p.Text)
		return ids, warning, nil
	}
	most := e.room()
	if e.model.context() > 0 {
		most-- // for a token of the answer
	}
	if len(ids) > most {
		return nil, "", fault.New(fault.TooLarge, field, "has %d tokens; the base takes at most %d", len(ids), most)
	}
	return ids, "", nil
}

// left is how many tokens an answer to a prompt of so many tokens may have where most are asked for: what is refused beyond the model's
// positions ends with them, what is cut goes on.
func (e *Engine) left(p Prompt, tokens, most int) int {
	if positions := e.model.context(); positions > 0 && (p.Whole || len(p.Messages) > 0) {
		return min(most, positions-tokens)
	}
	return most
}
