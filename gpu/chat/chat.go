// Package chat reads the chat templates of models: what makes of a conversation the text that a model was tuned on, and what stands before
// and after a single message in it. Templates are Jinja, as Transformers has them (utils/chat_template_utils.py).
package chat

import (
	"strings"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // as templates call them: system, user, assistant
	Content string `json:"content"`
}

// Template is a chat template and the texts of the tokens that begin and end a text, empty for none.
type Template struct{ Text, BOS, EOS string }

// Render is the text of a conversation up to where the model's answer begins. The errors are fault.Invalid about "messages" where the
// template refuses them, and about "chat_template". It is safe for concurrent use.
func (t Template) Render(messages []Message) (string, error) {
	if len(t.Text) > maxTemplate {
		return "", tooLong(t.Text)
	}
	return patiently(func() (string, error) { return render(t, messages) })
}

// Frame is what a template puts around one message of a user, before the model's answer.
type Frame struct {
	Before, After string
	Trims         bool // white space at the ends of the message is left out
}

// Around puts a message into the frame.
func (f *Frame) Around(message string) string {
	if f.Trims {
		message = strings.TrimSpace(message)
	}
	return f.Before + message + f.After
}

const (
	maxTemplate = 1 << 20 // bytes
	patience    = 5 * time.Second
	probe       = "medley-probe" // a message that no template has in it
)

// field is what errors are about.
const field = "chat_template"

// NewFrame runs a template on trial messages. One that does something else to a message than to put text around it is refused, and so is one
// that takes long. bos and eos are the texts of the tokens that begin and end a text, empty for none.
func NewFrame(t Template) (*Frame, error) {
	if len(t.Text) > maxTemplate {
		return nil, tooLong(t.Text)
	}
	return patiently(func() (*Frame, error) { return frame(t) })
}

func tooLong(template string) error {
	return fault.New(fault.TooLarge, field, "has %d bytes; the limit is %d", len(template), maxTemplate)
}

// patiently waits for what runs a template, but not for ever.
func patiently[T any](run func() (T, error)) (none T, err error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil { // the library's, on a template that it does not expect
				done <- answer{none, fault.New(fault.Invalid, field, "cannot be run: %v", r)}
			}
		}()
		v, err := run()
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-time.After(patience):
		return none, fault.New(fault.TooLarge, field, "runs for more than %v", patience)
	}
}

func frame(t Template) (*Frame, error) {
	var f Frame
	for i, message := range []string{probe, " \n" + probe + "\n ", strings.Repeat("<"+probe+"> & 'ü' ", 100) + "."} {
		text, err := render(t, []Message{{"user", message}})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			var found bool
			if f.Before, f.After, found = strings.Cut(text, message); !found {
				return nil, fault.New(fault.Unsupported, field, "leaves the message out")
			}
			continue
		}
		if f.Trims = f.Trims || i == 1 && text == f.Before+probe+f.After; text != f.Around(message) {
			return nil, fault.New(fault.Unsupported, field, "changes the message; only text around it and trimming are supported")
		}
	}
	return &f, nil
}
