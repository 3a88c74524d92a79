package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/checkpoint"
	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/hub"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
)

// modulesFlag names adapter folders. Patterns are expanded here, so that they work quoted; when a shell has expanded one already, the
// folders after the first arrive as arguments.
type modulesFlag struct {
	Modules []string `sep:"none" placeholder:"'DIR/*'" help:"PEFT adapters: a folder, a pattern, ORG/NAME on the Hub, or a .txt file with one of these a line; may be repeated."`
	Folders []string `arg:"" optional:"" name:"folders" help:"More adapter folders, as a shell expands an unquoted pattern."`
}

// module is one adapter folder and the name that it goes by.
type module struct {
	name   string
	folder string    // empty until it is fetched
	remote *hub.Name // where it comes from, if that is the Hub
}

// list expands the patterns to folders that hold an adapter, in the order given and sorted within a pattern. A module's name is its
// folder's; where two folders share it, parents are added until they differ. Modules on the Hub are not fetched yet.
func (f modulesFlag) list() ([]module, error) {
	var modules []module
	seen := map[string]bool{}
	add := func(m module) {
		key := m.folder
		if m.remote != nil {
			key = hub.Scheme + m.name
		}
		if !seen[key] {
			seen[key] = true
			modules = append(modules, m)
		}
	}
	patterns, err := withLists("--modules", slices.Concat(f.Modules, f.Folders))
	if err != nil {
		return nil, err
	}
	for _, pattern := range patterns {
		found, err := modulesOf(pattern)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			add(m)
		}
	}
	return modules, distinguish(modules)
}

// find is list with all modules on this machine.
func (f modulesFlag) find(a *app) ([]module, error) {
	modules, err := f.list()
	if err == nil {
		err = a.fetch(modules)
	}
	return modules, err
}

// findSome is find where there must be a module.
func (f modulesFlag) findSome(a *app) ([]module, error) {
	modules, err := f.listSome()
	if err == nil {
		err = a.fetch(modules)
	}
	return modules, err
}

// listSome is list where there must be a module.
func (f modulesFlag) listSome() ([]module, error) {
	modules, err := f.list()
	if err == nil && len(modules) == 0 {
		err = fault.New(fault.Invalid, "--modules", "names no folder; expected the folders of LoRA modules, such as 'modules/*'")
	}
	return modules, err
}

// fetch pulls those modules that are on the Hub.
func (a *app) fetch(modules []module) error {
	var remote []int
	var wanted []hub.Name
	for i, m := range modules {
		if m.remote != nil && m.folder == "" {
			remote, wanted = append(remote, i), append(wanted, *m.remote)
		}
	}
	if len(remote) == 0 {
		return nil
	}
	all, err := a.pull(wanted, hub.Adapter)
	if err != nil {
		return fault.In("--modules", err)
	}
	for k, i := range remote {
		modules[i].folder = all[k].Folder
	}
	return nil
}

// withLists puts the lines of .txt files in their places.
func withLists(flag string, texts []string) ([]string, error) {
	var all []string
	for _, text := range texts {
		lines := []string{text}
		if strings.HasSuffix(text, ".txt") && isFile(text) {
			var err error
			if lines, err = readList(text); err != nil {
				return nil, fault.In(flag+" "+text, err)
			}
		}
		all = append(all, lines...)
	}
	return all, nil
}

// Bounds on a list of modules.
const (
	maxList      = 4 << 20 // bytes
	maxListLines = 100_000
)

// readList reads the lines of a list of modules; empty ones and those that begin with # say nothing.
func readList(path string) ([]string, error) {
	data, err := checkpoint.ReadFile(os.DirFS(filepath.Dir(path)), filepath.Base(path), maxList)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) > maxListLines {
		return nil, fault.New(fault.TooLarge, "", "has more than %d lines", maxListLines)
	}
	var names []string
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			names = append(names, line)
		}
	}
	return names, nil
}

// modulesOf finds what one folder, pattern or name on the Hub means.
func modulesOf(pattern string) ([]module, error) {
	if isAdapter(pattern) { // also where the name holds characters that a pattern gives a meaning
		return []module{local(filepath.Clean(pattern))}, nil
	}
	if onHub(pattern) {
		name, err := hub.ParseName(pattern)
		if err != nil {
			return nil, fault.In("--modules", err)
		}
		return []module{{name: name.String(), remote: &name}}, nil
	}
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fault.New(fault.Invalid, "--modules", "%q is not a pattern: %v", pattern, err)
	}
	var found []module
	for _, m := range matches {
		if isAdapter(m) {
			found = append(found, local(m))
		}
	}
	if len(found) == 0 {
		return nil, fault.New(fault.Invalid, "--modules", "%q matches no folder with an %s", pattern, adapterConfigName)
	}
	return found, nil
}

func local(folder string) module { return module{name: filepath.Base(folder), folder: folder} }

func isAdapter(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, adapterConfigName))
	return err == nil
}

// distinguish lengthens names that more than one module has.
func distinguish(modules []module) error {
	for depth := 2; ; depth++ {
		count := map[string]int{}
		for _, m := range modules {
			count[m.name]++
		}
		clash := false
		for i, m := range modules {
			if count[m.name] > 1 && m.remote == nil {
				clash = true
				modules[i].name = lastParts(m.folder, depth)
			}
		}
		if !clash {
			return nil
		}
		if depth > 64 {
			return fault.New(fault.Invalid, "--modules", "two folders cannot be told apart by name")
		}
	}
}

func lastParts(path string, n int) string {
	parts := strings.Split(filepath.ToSlash(path), "/")
	return strings.Join(parts[max(0, len(parts)-n):], "/")
}

func names(modules []module) []string {
	all := make([]string, len(modules))
	for i, m := range modules {
		all[i] = m.name
	}
	return all
}

// openModules opens every module's configuration and headers, so that one that cannot be used is refused before any work.
func openModules(modules []module) (map[string]*peft.Module, error) {
	opened := make(map[string]*peft.Module, len(modules))
	for _, m := range modules {
		var err error
		if opened[m.name], err = peft.Open(m.folder, peft.OpenOptions{AllowPickle: allowPickles}); err != nil {
			return nil, fault.In("module "+m.name, err)
		}
	}
	return opened, nil
}

// readExamples reads a JSON-lines file of examples; flag names it in errors.
func readExamples(flag, path string) ([]task.Example, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, flag, "%s cannot be read: %v", path, errorWithoutPath(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fault.New(fault.Invalid, flag, "%s is a directory; expected a file of JSON lines", path)
	}
	examples, err := task.ReadExamples(f, task.Limits{})
	return examples, fault.In(fmt.Sprintf("%s %s", flag, path), err)
}

// errorWithoutPath strips the operation and path that the os package adds, which the message has already.
func errorWithoutPath(err error) error {
	if p, ok := err.(*os.PathError); ok { //nolint:errorlint // exactly what os.Open returns
		return p.Err
	}
	return err
}
