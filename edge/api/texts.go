package api

import (
	"encoding/json"
	"strings"
)

// Texts is a text or a list of texts, as OpenAI's API has both in one field.
type Texts []string

// UnmarshalJSON is json.Unmarshaler's.
func (t *Texts) UnmarshalJSON(data []byte) error {
	*t = Texts{""}
	if json.Unmarshal(data, &(*t)[0]) == nil {
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// Content is what a message says: a text, or the parts of one, which are put together.
type Content string

// UnmarshalJSON is json.Unmarshaler's.
func (c *Content) UnmarshalJSON(data []byte) error {
	var parts []TextPart
	if json.Unmarshal(data, (*string)(c)) == nil {
		return nil
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	var text strings.Builder
	for _, part := range parts {
		text.WriteString(part.Text)
	}
	*c = Content(text.String())
	return nil
}
