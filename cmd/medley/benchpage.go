package main

import "github.com/medley-lora/medley/shared/fault"

func (r *benchResult) write(dir string) error {
	return fault.New(fault.Unsupported, dir, "x")
}
