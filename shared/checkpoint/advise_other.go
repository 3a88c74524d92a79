//go:build !linux

package checkpoint

// adviseDontNeed does nothing: the standard library offers madvise on Linux only.
func adviseDontNeed([]byte) {}
