package chat

import "github.com/medley-lora/medley/shared/fault"

// render refuses: in a page the library for templates would take more room than all the rest of the program.
func render(Template, []Message) (string, error) {
	return "", fault.New(fault.Unsupported, field, "is not run in a page")
}
