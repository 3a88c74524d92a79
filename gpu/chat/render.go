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

// render runs a template on one message. It sees no files and no other templates.
func render(template, bos, eos, message string) (string, error) {
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks, c.KeepTrailingNewline = true, true, true
	loader, err := loaders.NewMemoryLoader(map[string]string{name: template})
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, field, "cannot be read: %v", err)
	}
	t, err := exec.NewTemplate(name, c, loader, &exec.Environment{
		Context: builtins.GlobalFunctions, Filters: builtins.Filters, Tests: builtins.Tests, ControlStructures: builtins.ControlStructures, Methods: builtins.Methods,
	})
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, field, "is no template: %v", err)
	}
	text, err := t.ExecuteToString(exec.NewContext(map[string]any{
		"messages":              []any{map[string]any{"role": "user", "content": message}},
		"add_generation_prompt": true, "bos_token": bos, "eos_token": eos,
		"raise_exception": func(why string) (string, error) { return "", errors.New(why) }, //nolint:err113 // the template's own words
	}))
	if err != nil {
		return "", fault.Wrap(err, fault.Invalid, field, "fails: %v", err)
	}
	return text, nil
}
