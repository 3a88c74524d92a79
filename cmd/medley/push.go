package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/compose"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/peft"
)

type pushCommand struct {
	Dir     string `arg:"" name:"dir" help:"Folder that compose wrote."`
	To      string `required:"" placeholder:"ORG/NAME" help:"Repository on the Hub; made if there is none."`
	Base    string `placeholder:"ORG/NAME" help:"The base's name on the Hub, where the adapter was composed on a local folder."`
	Public  bool   `help:"Let everyone see a repository that is made; by default only you can."`
	License string `placeholder:"ID" help:"License for the card, as the Hub spells it: apache-2.0, mit, …"`
	Message string `default:"Adapter composed with Medley" help:"The commit's message."`
	DryRun  bool   `help:"Print the card and what would be pushed; connect to nothing."`
	JSON    bool   `help:"Print the result as one JSON object."`
}

// Help is what kong prints above the flags.
func (*pushCommand) Help() string {
	return "Published are the adapter and a model card that states base, modules, weights, result and how to repeat it; your examples are not. " +
		"It needs a token that may write (HF_TOKEN, or the token file)."
}

// pushOutput is what push prints with --json.
type pushOutput struct {
	Repository string   `json:"repository"`
	Commit     string   `json:"commit"`
	Created    bool     `json:"created"`
	Public     bool     `json:"public"` // if it was created
	Files      []string `json:"files"`
	Unchanged  int      `json:"unchanged"` // files that were there already
	Uploaded   int64    `json:"uploaded"`  // bytes of large files
}

func (c *pushCommand) Run(a *app) error {
	name, err := hub.ParseName(c.To)
	if err == nil && (name.File != "" || name.Revision != "") {
		err = fault.New(fault.Invalid, "", "%q is more than a repository, ORG/NAME", c.To)
	}
	if err != nil {
		return fault.In("--to", err)
	}
	if c.License != "" && !licensePattern.MatchString(c.License) {
		return fault.New(fault.Invalid, "--license", "%q is not how the Hub spells one; expected such as apache-2.0", c.License)
	}
	files, err := c.files(name)
	if err != nil {
		return err
	}
	out := pushOutput{Repository: name.Repo, Files: []string{}}
	for _, f := range files {
		out.Files = append(out.Files, f.Path)
	}
	if c.DryRun {
		a.note("Would be pushed to %s, made %s if there is none: %s", name.Repo, visibility(c.Public), strings.Join(out.Files, ", "))
		_, err := a.stdout.Write(files[len(files)-1].Data)
		return err
	}
	client, err := a.hub()
	if err != nil {
		return err
	}
	defer client.Close()
	t := &transfer{app: a, title: "pushing"}
	done, err := client.Push(a.ctx, name, files, hub.PushOptions{Public: c.Public, Message: c.Message}, t.observe)
	t.end()
	if err != nil {
		return err
	}
	out.Commit, out.Created, out.Public, out.Unchanged, out.Uploaded = done.Commit, done.Created, done.Created && c.Public, done.Unchanged, done.Uploaded
	if c.JSON {
		return a.printJSON(out)
	}
	out.print(a, c.Public)
	return nil
}

func visibility(public bool) string {
	if public {
		return "public"
	}
	return "private"
}

func (o *pushOutput) print(a *app, public bool) {
	made := "committed to"
	if o.Created {
		made = "made, " + visibility(o.Public) + ", at"
	} else if public {
		a.note("%s was there already, and stays as visible as it was", o.Repository)
	}
	fmt.Fprintf(a.stdout, "%s: %s %s; %s, %d unchanged, %s uploaded.\n",
		o.Repository, made, shortCommit(o.Commit), count(len(o.Files), "file"), o.Unchanged, sized(o.Uploaded))
}

// files are what is published of a composed adapter: its two files, and the card, which is last.
func (c *pushCommand) files(to hub.Name) ([]hub.Upload, error) {
	module, err := peft.Open(c.Dir, peft.OpenOptions{})
	if err != nil {
		return nil, fault.In(c.Dir, err)
	}
	base := c.Base
	if base == "" {
		base = module.Config.BaseModel
	}
	if name, err := hub.ParseName(base); err == nil && name.File == "" {
		base = name.Repo
	} else {
		return nil, fault.New(fault.Invalid, "--base", "the adapter's base is given as a folder of this machine; say which repository on the Hub it is, as ORG/NAME")
	}
	config, err := withBase(filepath.Join(c.Dir, adapterConfigName), base)
	if err != nil {
		return nil, err
	}
	data, err := checkpoint.ReadFile(os.DirFS(c.Dir), compositionName, maxComposition)
	if err != nil {
		return nil, fault.In(compositionName, fault.Wrap(err, fault.Invalid, "", "%v; push publishes what compose wrote", err))
	}
	var composition compose.Output
	if err := json.Unmarshal(data, &composition); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, compositionName, "is not what compose writes")
	}
	text, err := newCard(to.Repo, base, c.License, &composition).text()
	if err != nil {
		return nil, err
	}
	return []hub.Upload{
		{Path: adapterConfigName, Data: config}, {Path: "adapter_model.safetensors", Local: filepath.Join(c.Dir, "adapter_model.safetensors")}, {Path: "README.md", Data: text},
	}, nil
}

var licensePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)

const (
	adapterConfigName = "adapter_config.json"
	compositionName   = "composition.json"
	maxComposition    = 256 << 20
)

// withBase is an adapter's configuration with another name of its base.
func withBase(path, base string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.In(adapterConfigName, checkpoint.IOFault(err, "read"))
	}
	var fields map[string]json.RawMessage // whose order does not matter to PEFT
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, adapterConfigName, "is not JSON")
	}
	if fields["base_model_name_or_path"], err = json.Marshal(base); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(fields, "", "  ")
	return append(text, '\n'), err
}
