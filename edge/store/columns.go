package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// micros is how a time is kept.
func micros(t time.Time) int64 { return t.UnixMicro() }

// instant scans a kept time.
type instant struct{ into *time.Time }

func (i instant) Scan(from any) error {
	n, ok := from.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as %T", from)
	}
	*i.into = time.UnixMicro(n).UTC()
	return nil
}

// maybeMicros is how a time is kept that may be missing.
func maybeMicros(t *time.Time) any {
	if t == nil {
		return nil
	}
	return micros(*t)
}

// maybeInstant scans a kept time that may be missing.
type maybeInstant struct{ into **time.Time }

func (i maybeInstant) Scan(from any) error {
	if from == nil {
		*i.into = nil
		return nil
	}
	*i.into = new(time.Time)
	return instant{*i.into}.Scan(from)
}

// toJSON is how a value is kept that only Go code looks into.
func toJSON(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// fromJSON scans what toJSON kept; empty text leaves the value as it is.
type fromJSON struct{ into any }

func (j fromJSON) Scan(from any) error {
	text, ok := from.(string)
	if !ok {
		return fmt.Errorf("a document is kept as %T", from)
	}
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), j.into)
}

// rawText scans text into a document, byte for byte; empty text is none.
type rawText struct{ into *json.RawMessage }

func (r rawText) Scan(from any) error {
	text, ok := from.(string)
	if !ok {
		return fmt.Errorf("a document is kept as %T", from)
	}
	*r.into = nil
	if text != "" {
		*r.into = json.RawMessage(text)
	}
	return nil
}
