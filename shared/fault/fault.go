// Package fault gives every error three parts: a code for machines, a sentence for people, and a cause for operators.
package fault

import "errors"

// Code classifies an error for programs. The set is closed: transports map each code to one status.
type Code string

const (
	Invalid     Code = "invalid"     // the input is wrong; the caller can mend it
	Unsupported Code = "unsupported" // the input is well formed but asks for something that is not supported
	NotFound    Code = "not_found"
	TooLarge    Code = "too_large" // a stated bound was exceeded
	Canceled    Code = "canceled"
	Internal    Code = "internal" // a defect of ours, or of the machine
)

// Error is an error whose Message can be shown to a user as it is. Field names the input at fault, in the words that the
// user knows ("lora_alpha", "line 3: output"); it is empty when no single field is. Cause is for logs only.
type Error struct {
	Code    Code
	Field   string
	Message string
	Cause   error
}

// Error formats the field and the message; the cause is left to Unwrap, so that detail does not reach users by accident.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// New makes an error about field, which may be empty.
func New(code Code, field, format string, args ...any) error {
	return &Error{Code: code, Field: field, Message: sprintf(format, args...)}
}

// Wrap makes an error about field caused by cause.
func Wrap(cause error, code Code, field, format string, args ...any) error {
	return &Error{Code: code, Field: field, Message: sprintf(format, args...), Cause: cause}
}

// In prefixes the field of err with the place it was found in ("adapter french"), keeping its code.
func In(place string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return &located{place, err}
	}
	field := place
	if e.Field != "" {
		field += ": " + e.Field
	}
	return &Error{Code: e.Code, Field: field, Message: e.Message, Cause: err}
}

// located is an error of another kind with the place it was found in.
type located struct {
	place string
	error
}

func (l *located) Error() string { return l.place + ": " + l.error.Error() }

func (l *located) Unwrap() error { return l.error }

// CodeOf returns the code of err, Internal for errors of other kinds and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}
