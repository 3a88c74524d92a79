package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/peft"
	"github.com/medley-lora/medley/shared/task"
)

// modulesFlag names adapter folders. Patterns are expanded here, so that they work quoted; when a shell has expanded one already, the
// folders after the first arrive as arguments.
type modulesFlag struct {
	Modules []string `sep:"none" placeholder:"'DIR/*'" help:"PEFT adapter folders: a folder or a pattern; may be repeated."`
	Folders []string `arg:"" optional:"" name:"folders" help:"More adapter folders, as a shell expands an unquoted pattern."`
}

// module is one adapter folder and the name that it goes by.
type module struct {
	name   string
	folder string
}

// find expands the patterns to folders that hold an adapter, in the order given and sorted within a pattern. A module's name is its
// folder's; where two folders share it, parents are added until they differ.
func (f modulesFlag) find() ([]module, error) {
	var folders []string
	for _, pattern := range slices.Concat(f.Modules, f.Folders) {
		found, err := adapterFolders(pattern)
		if err != nil {
			return nil, err
		}
		folders = append(folders, found...)
	}
	modules := make([]module, 0, len(folders))
	seen := map[string]bool{}
	for _, folder := range folders {
		if !seen[folder] {
			seen[folder] = true
			modules = append(modules, module{name: filepath.Base(folder), folder: folder})
		}
	}
	return modules, distinguish(modules)
}

// findSome is find where there must be a module.
func (f modulesFlag) findSome() ([]module, error) {
	modules, err := f.find()
	if err == nil && len(modules) == 0 {
		err = fault.New(fault.Invalid, "--modules", "names no folder; expected the folders of LoRA modules, such as 'modules/*'")
	}
	return modules, err
}

func adapterFolders(pattern string) ([]string, error) {
	if isAdapter(pattern) { // also where the name holds characters that a pattern gives a meaning
		return []string{filepath.Clean(pattern)}, nil
	}
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fault.New(fault.Invalid, "--modules", "%q is not a pattern: %v", pattern, err)
	}
	matches = slices.DeleteFunc(matches, func(m string) bool { return !isAdapter(m) })
	if len(matches) == 0 {
		return nil, fault.New(fault.Invalid, "--modules", "%q matches no folder with an adapter_config.json", pattern)
	}
	return matches, nil
}

func isAdapter(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "adapter_config.json"))
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
			if count[m.name] > 1 {
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
		if opened[m.name], err = peft.Open(m.folder, peft.OpenOptions{AllowPickle: true}); err != nil {
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
