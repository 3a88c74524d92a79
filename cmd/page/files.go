//go:build js

package main

import (
	"io"
	"io/fs"
	"syscall/js"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// folder is a file system over an object {path: Uint8Array}. The bytes stay in JavaScript's memory; what is read is copied.
type folder map[string]js.Value

func newFolder(v js.Value) (folder, error) {
	if v.Type() != js.TypeObject {
		return nil, fault.New(fault.Invalid, "files", "is not an object {path: Uint8Array}")
	}
	f := folder{}
	names, bytes := js.Global().Get("Object").Call("keys", v), js.Global().Get("Uint8Array")
	for i := range names.Length() {
		name := names.Index(i).String()
		if f[name] = v.Get(name); !f[name].InstanceOf(bytes) {
			return nil, fault.New(fault.Invalid, "files", "%.100q is not a Uint8Array", name)
		}
	}
	return f, nil
}

// Open opens a file; there are no folders in one.
func (f folder) Open(name string) (fs.File, error) {
	array, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return file{io.NewSectionReader(content{array}, 0, int64(array.Length())), name}, nil
}

// file is an open file, readable at any offset, and its own description.
type file struct {
	*io.SectionReader
	name string
}

func (f file) Stat() (fs.FileInfo, error) { return f, nil }
func (file) Close() error                 { return nil }

func (f file) Name() string     { return f.name }
func (file) Mode() fs.FileMode  { return 0o444 }
func (file) ModTime() time.Time { return time.Time{} }
func (file) IsDir() bool        { return false }
func (file) Sys() any           { return nil }

// content reads a Uint8Array.
type content struct{ array js.Value }

func (c content) ReadAt(p []byte, offset int64) (int, error) {
	n := js.CopyBytesToGo(p, c.array.Call("subarray", offset, offset+int64(len(p))))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
