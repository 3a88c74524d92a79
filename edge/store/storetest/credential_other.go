//go:build !unix

package storetest

import "syscall"

// Nobody is root here.
func credential(uint32, uint32) *syscall.SysProcAttr { return nil }
