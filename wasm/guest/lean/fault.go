// Package fault takes the place of shared/fault when the guest is built (tools/guest.sh): it is the same to its callers, and does
// without the fmt package, which with all that it needs would be a fifth of the guest.
package fault

import "strconv"

// Code is that of shared/fault, and so are the constants.
type Code string

const (
	Invalid     Code = "invalid"
	Unsupported Code = "unsupported"
	NotFound    Code = "not_found"
	TooLarge    Code = "too_large"
	Canceled    Code = "canceled"
	Internal    Code = "internal"
)

// Error is that of shared/fault.
type Error struct {
	Code    Code
	Field   string
	Message string
	Cause   error
}

// Error formats the field and the message.
func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// New makes an error about field, which may be empty. The format knows %d for int, %s and %q for string, and nothing else.
func New(code Code, field, format string, args ...any) error {
	return &Error{Code: code, Field: field, Message: sprintf(format, args)}
}

// CodeOf returns the code of err, Internal for errors of other kinds and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := err.(*Error); ok { //nolint:errorlint // nothing in the guest wraps errors, and errors.As needs reflection
		return e.Code
	}
	return Internal
}

// sprintf is fmt.Sprintf for the verbs that New knows; what it does not know it leaves as it is.
func sprintf(format string, args []any) string {
	var b []byte
	for i := 0; i < len(format); i++ {
		if format[i] == '%' && i+1 < len(format) && len(args) > 0 {
			if text, ok := verb(format[i+1], args[0]); ok {
				b = append(b, text...)
				args = args[1:]
				i++
				continue
			}
		}
		b = append(b, format[i])
	}
	return string(b)
}

func verb(v byte, arg any) (text string, ok bool) {
	switch arg := arg.(type) {
	case int:
		return strconv.Itoa(arg), v == 'd'
	case string:
		if v == 'q' {
			return strconv.Quote(arg), true
		}
		return arg, v == 's'
	}
	return "", false
}
