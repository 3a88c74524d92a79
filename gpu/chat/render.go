//go:build !js

package chat

import (
	"errors"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"

	"github.com/medley-lora/medley/shared/fault"
)

const name = "/template"

// render runs a template on messages. It sees no files and no other templates.
func render(template Template, messages []Message) (string, error) {
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks, c.KeepTrailingNewline = true, true, true
	loader, err := loaders.NewMemoryLoader(map[string]string{name: template.Text})
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, field, "cannot be read: %v", err)
	}
	t, err := exec.NewTemplate(name, c, loader, &exec.Environment{
		Context: builtins.GlobalFunctions, Filters: builtins.Filters, Tests: builtins.Tests, ControlStructures: builtins.ControlStructures, Methods: builtins.Methods,
	})
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, field, "is no template: %v", err)
	}
	turns := make([]any, len(messages))
	for i, m := range messages {
		turns[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	refusal := ""
	text, err := t.ExecuteToString(exec.NewContext(map[string]any{
		"messages": turns, "add_generation_prompt": true, "bos_token": template.BOS, "eos_token": template.EOS,
		"raise_exception": func(why string) (string, error) {
			refusal = why
			return "", errors.New(why) //nolint:err113 // the template's own words
		},
	}))
	if err != nil && refusal != "" {
		return "", fault.Wrap(err, fault.Invalid, "messages", "are refused by the base's chat template: %.300s", refusal)
	}
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, field, "fails: %v", err)
	}
	return text, nil
}
