// Package lean formats messages without the fmt package, which with all that it needs would be a fifth of a WebAssembly guest.
package lean

import "strconv"

// Sprintf is fmt.Sprintf for %d of int and %s and %q of string. What it does not know it leaves as it is.
func Sprintf(format string, args ...any) string {
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
