package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/peft"
)

// labels names everything that a trace depends on by its digest, so that a trace is never continued with other data.
func (c *composeCommand) labels(s *composing, modules []string, opened map[string]*peft.Module) (map[string]string, error) {
	examples, err := digestOfFile(c.Examples)
	if err != nil {
		return nil, fault.In("--examples", err)
	}
	base, err := s.baseDigest()
	if err != nil {
		return nil, err
	}
	objective, err := c.parse()
	if err != nil {
		return nil, err
	}
	var digests strings.Builder
	for _, name := range modules {
		digest, err := opened[name].Digest()
		if err != nil {
			return nil, fault.In("module "+name, err)
		}
		fmt.Fprintf(&digests, "%s %s\n", digest, name)
	}
	all := s.optimizer.labels()
	maps.Copy(all, map[string]string{
		"base": base, "examples": examples, "modules": digests.String(), "method": c.Method, "backend": s.base.backend, "precision": c.Precision,
		"objective": fmt.Sprintf("%s %g", objective.Name, objective.Penalty), "holdout": fmt.Sprint(c.Holdout),
	})
	return all, nil
}

func digestOfFile(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return digestOfBytes(data), nil
}

func digestOfBytes(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
