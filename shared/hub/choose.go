package hub

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Want says what a repository is pulled for.
type Want struct {
	Kind    Kind
	Pickles bool // take PyTorch pickles where there are no safetensors
}

// Kind is what a repository holds.
type Kind int

// The kinds of content.
const (
	Any     Kind = iota // whatever is there: an adapter, a base model, or both
	Base                // a base model
	Adapter             // a PEFT adapter
)

// Names of files, as Hugging Face has them.
const (
	adapterConfig  = "adapter_config.json"
	adapterWeights = "adapter_model.safetensors"
	adapterPickle  = "adapter_model.bin"
	modelConfig    = "config.json"
	modelWeights   = "model.safetensors"
	modelIndex     = "model.safetensors.index.json"
	modelPickle    = "pytorch_model.bin"
	pickleIndex    = "pytorch_model.bin.index.json"
)

// beside are files that a base model's folder has beside its weights.
var beside = []string{
	modelConfig, "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"spiece.model", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja", "LICENSE", "LICENSE.txt",
}

// choice is what to take of a repository. If index is named, the files that it names belong to the choice too.
type choice struct {
	files []File
	index string
	notes []string
}

// choose picks the files that Medley reads.
func choose(all []File, n Name, want Want) (choice, error) {
	named := make(map[string]File, len(all))
	for _, f := range all {
		named[f.Path] = f
	}
	if n.File != "" {
		f, ok := named[n.File]
		if !ok {
			return choice{}, fault.New(fault.NotFound, "", "there is no such file in this revision%s", listed(all, ".gguf"))
		}
		return choice{files: []File{f}}, nil
	}
	_, isAdapter := named[adapterConfig]
	_, isBase := named[modelConfig]
	switch want.Kind {
	case Adapter:
		isBase = false
		if !isAdapter {
			return choice{}, fault.New(fault.Invalid, "", "holds no adapter: there is no %s", adapterConfig)
		}
	case Base:
		isAdapter = false
	}
	var c choice
	if isAdapter {
		if err := c.takeAdapter(named, want); err != nil {
			return c, err
		}
	}
	if isBase {
		hasWeights := c.takeBase(named, want)
		if hasWeights || isAdapter { // an adapter's repository may have the base's configuration in it
			return c, nil
		}
		return c, fault.New(fault.Unsupported, "", "holds no %s and no shards of one%s", modelWeights, refusedPickle(named, modelPickle, pickleIndex))
	}
	if isAdapter {
		return c, nil
	}
	return c.takeOnlyGGUF(all)
}

func (c *choice) takeAdapter(named map[string]File, want Want) error {
	c.files = append(c.files, named[adapterConfig])
	if f, ok := named[adapterWeights]; ok {
		c.files = append(c.files, f)
		return nil
	}
	f, ok := named[adapterPickle]
	if !ok || !want.Pickles {
		return fault.New(fault.Unsupported, "", "holds no %s%s", adapterWeights, refusedPickle(named, adapterPickle))
	}
	c.files = append(c.files, f)
	c.notes = append(c.notes, "has its weights as a PyTorch pickle only; nothing in it is run")
	return nil
}

// refusedPickle says that there would be a pickle.
func refusedPickle(named map[string]File, names ...string) string {
	for _, name := range names {
		if _, ok := named[name]; ok {
			return ", and PyTorch pickles are not allowed here"
		}
	}
	return ""
}

func (c *choice) takeBase(named map[string]File, want Want) bool {
	for _, name := range beside {
		if f, ok := named[name]; ok {
			c.files = append(c.files, f)
		}
	}
	kinds := []struct{ single, index string }{{modelWeights, modelIndex}}
	if want.Pickles {
		kinds = append(kinds, struct{ single, index string }{modelPickle, pickleIndex})
	}
	for i, k := range kinds {
		if i > 0 {
			c.notes = append(c.notes, "has its weights as PyTorch pickles only; nothing in them is run")
		}
		if f, ok := named[k.single]; ok {
			c.files = append(c.files, f)
			return true
		}
		if f, ok := named[k.index]; ok {
			c.files, c.index = append(c.files, f), k.index
			return true
		}
	}
	c.notes = nil
	return false
}

// takeOnlyGGUF takes the one GGUF file of a repository that holds nothing else to read.
func (c *choice) takeOnlyGGUF(all []File) (choice, error) {
	var found []File
	for _, f := range all {
		if strings.HasSuffix(f.Path, ".gguf") {
			found = append(found, f)
		}
	}
	switch len(found) {
	case 0:
		return *c, fault.New(fault.Invalid, "", "holds neither a base model (%s) nor an adapter (%s) nor a .gguf file", modelConfig, adapterConfig)
	case 1:
		c.files = found
		return *c, nil
	}
	return *c, fault.New(fault.Invalid, "", "holds %d .gguf files; name one, as ORG/NAME/FILE.gguf%s", len(found), listed(all, ".gguf"))
}

// listed names some files with a suffix.
func listed(all []File, suffix string) string {
	const most = 12
	var names []string
	for _, f := range all {
		if strings.HasSuffix(f.Path, suffix) {
			names = append(names, fmt.Sprintf("%.80s", f.Path))
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return ""
	case len(names) > most:
		names = append(names[:most], "…")
	}
	return "; there are " + strings.Join(names, ", ")
}

// shards are the files that an index names, which lie beside it.
func shards(index []byte, name string, all []File) ([]File, error) {
	var x struct {
		Weights map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &x); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, name, "is not the JSON of an index")
	}
	suffix := path.Ext(strings.TrimSuffix(name, ".index.json"))
	wanted := map[string]bool{}
	for _, file := range x.Weights {
		if !validPath(file) || strings.Contains(file, "/") || path.Ext(file) != suffix {
			return nil, fault.New(fault.Invalid, name, "names %.100q, which is not the plain name of a %s file", file, suffix)
		}
		wanted[file] = true
	}
	var files []File
	for _, f := range all {
		if wanted[f.Path] {
			files = append(files, f)
			delete(wanted, f.Path)
		}
	}
	for missing := range wanted {
		return nil, fault.New(fault.Invalid, name, "names %.100q, which the repository does not have", missing)
	}
	if len(files) == 0 {
		return nil, fault.New(fault.Invalid, name, "names no file")
	}
	return files, nil
}
