package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
)

type pullCommand struct {
	Names []string `arg:"" name:"names" help:"ORG/NAME, ORG/NAME@REVISION or ORG/NAME/FILE.gguf; or .txt files with one of these a line."`
	JSON  bool     `help:"Print the result as one JSON object."`
}

// Help is what kong prints above the flags.
func (*pullCommand) Help() string {
	return "Only what Medley reads is fetched: configuration, tokenizer and safetensors of a base, the two files of an adapter, a named GGUF file. " +
		"Files are kept where Python's huggingface_hub keeps them (HF_HOME, HF_HUB_CACHE) and shared with it. " +
		"HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean there. What was cut off is gone on with."
}

// pulledSnapshot is one repository in the output of pull --json.
type pulledSnapshot struct {
	Name       string   `json:"name"` // as asked for
	Commit     string   `json:"commit"`
	Path       string   `json:"path"` // of the folder or the GGUF file
	Files      []string `json:"files"`
	Bytes      int64    `json:"bytes"`
	Downloaded int64    `json:"downloaded"` // of the bytes
	Notes      []string `json:"notes"`
}

func (c *pullCommand) Run(a *app) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	all, err := a.pull(names, hub.Any)
	if err != nil {
		return err
	}
	out := make([]pulledSnapshot, len(all))
	for i, s := range all {
		out[i] = pulledSnapshot{Name: s.Name.String(), Commit: s.Commit, Path: s.Path, Downloaded: s.Downloaded, Notes: append([]string{}, s.Notes...)}
		for _, f := range s.Files {
			out[i].Files = append(out[i].Files, f.Path)
			out[i].Bytes += f.Size
		}
	}
	if c.JSON {
		return a.printJSON(map[string]any{"pulled": out})
	}
	t := newTable(a.stdout, "name", "commit", "files", "size", "downloaded", "folder")
	for _, s := range out {
		t.AppendRow(table.Row{printable(s.Name), shortCommit(s.Commit), len(s.Files), sized(s.Bytes), sized(s.Downloaded), s.Path})
	}
	t.Render()
	return nil
}

func (c *pullCommand) names() ([]hub.Name, error) {
	texts, err := withLists("names", c.Names)
	if err != nil {
		return nil, err
	}
	names := make([]hub.Name, len(texts))
	for i, text := range texts {
		if names[i], err = hub.ParseName(text); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, fault.New(fault.Invalid, "names", "there is nothing to pull")
	}
	return names, nil
}

// shortCommit is a commit as people write it.
func shortCommit(commit string) string { return fmt.Sprintf("%.12s", commit) }
