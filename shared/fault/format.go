//go:build !wasip1

package fault

import "fmt"

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
