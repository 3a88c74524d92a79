package archive

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
	"github.com/medley-lora/medley/shared/peft"
)

// PartArchive is the part of an upload that is an archive.
const PartArchive = "archive"

// Parts are the parts of an upload, one after the other: "archive", or the two files, called Config and Weights, in either order. Next
// returns io.EOF after the last. A part is read before the next is asked for.
type Parts interface {
	Next() (name string, content io.Reader, err error)
}

// Facts is what an adapter says of itself.
type Facts struct {
	Base    string   // the base that its author names; may be empty
	Rank    int      // the largest of its layers
	Targets []string // the maps that it updates by the last parts of their names, sorted: "q", "v"
}

// Upload is an adapter that has arrived and been checked. It is a folder until Close.
type Upload struct {
	Facts
	folder string
}

// Receive writes an upload into a new folder below dir and checks it; memory does not grow with its size. Its weights are safetensors and
// never a pickle, and every field of its configuration that changes the numbers is understood (package peft). The errors are
// fault.Invalid, fault.Unsupported and fault.TooLarge about the part or the field at fault, what Next and the contents fail with, and
// fault.Internal; nothing is left then.
func Receive(dir string, parts Parts, limits Limits) (_ *Upload, err error) {
	folder, err := os.MkdirTemp(dir, "upload-")
	if err != nil {
		return nil, failed(err, "keeping an upload")
	}
	defer func() {
		if err != nil {
			os.RemoveAll(folder)
		}
	}()
	for {
		name, content, err := parts.Next()
		if err == io.EOF { //nolint:errorlint // the end as it is; wrapped, it comes too early
			break
		}
		if err != nil {
			return nil, err
		}
		if err := receivePart(folder, name, content, limits); err != nil {
			return nil, err
		}
	}
	facts, err := inspect(folder)
	if err != nil {
		return nil, err
	}
	return &Upload{facts, folder}, nil
}

func receivePart(folder, name string, content io.Reader, limits Limits) error {
	broken := func(err error) error { return err } // the gateway knows what befell its body
	switch name {
	case PartArchive:
		return receiveArchive(folder, content, limits)
	case Config, Weights:
		path := filepath.Join(folder, name)
		if _, err := os.Lstat(path); err == nil {
			return fault.New(fault.Invalid, name, "occurs twice")
		}
		return inPart(name, receive(path, content, limits.of(name), broken))
	}
	return fault.New(fault.Invalid, "body", "has a part that is none of %s, %s and %s", PartArchive, Config, Weights)
}

// inPart says which part a fault of ours is about. Others' know better.
func inPart(name string, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Field == "" && f.Code == fault.TooLarge {
		return fault.In(name, err)
	}
	return err
}

func receiveArchive(folder string, content io.Reader, limits Limits) error {
	path := filepath.Join(folder, PartArchive)
	if _, err := os.Lstat(filepath.Join(folder, Config)); err == nil {
		return fault.New(fault.Invalid, PartArchive, "is all there may be: send either it or the two files")
	}
	if err := receive(path, content, limits.archive(), func(err error) error { return err }); err != nil {
		return inPart(PartArchive, err)
	}
	if err := unpackFile(path, folder, limits); err != nil {
		return err
	}
	return os.Remove(path)
}

// Unpack reads an archive and puts its two files into folder, which is made when it is missing, in place of those that are there: both or
// neither.
func Unpack(r io.Reader, folder string, limits Limits) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return failed(err, "making the folder")
	}
	working, err := os.MkdirTemp(folder, unpacking)
	if err != nil {
		return failed(err, "unpacking")
	}
	defer os.RemoveAll(working)
	if err := receiveArchive(working, r, limits); err != nil {
		return err
	}
	for _, name := range order {
		if err := os.Rename(filepath.Join(working, name), filepath.Join(folder, name)); err != nil {
			return failed(err, "unpacking")
		}
	}
	return nil
}

func unpackFile(path, folder string, limits Limits) error {
	file, err := os.Open(path)
	if err != nil {
		return failed(err, "reading an archive")
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return failed(err, "reading an archive")
	}
	return unpack(file, info.Size(), folder, limits)
}

// inspect checks the adapter in folder.
func inspect(folder string) (Facts, error) {
	for _, name := range order {
		if _, err := os.Lstat(filepath.Join(folder, name)); err != nil {
			return Facts{}, fault.New(fault.Invalid, name, "is missing")
		}
	}
	module, err := peft.Open(folder, peft.OpenOptions{})
	if err != nil {
		return Facts{}, err
	}
	facts := Facts{Base: module.Config.BaseModel}
	for _, layer := range module.Layers {
		facts.Rank = max(facts.Rank, layer.Rank)
		facts.Targets = append(facts.Targets, layer.Target[strings.LastIndexByte(layer.Target, '.')+1:])
	}
	slices.Sort(facts.Targets)
	facts.Targets = slices.Compact(facts.Targets)
	return facts, nil
}

// Archive is the upload as a canonical archive, as Stream gives it.
func (u *Upload) Archive(ctx context.Context) io.ReadCloser { return Stream(ctx, u.folder) }

// Size is that of the two files together, in bytes.
func (u *Upload) Size() (int64, error) {
	var size int64
	for _, name := range order {
		info, err := os.Stat(filepath.Join(u.folder, name))
		if err != nil {
			return 0, failed(err, "reading an upload")
		}
		size += info.Size()
	}
	return size, nil
}

// Close removes the upload.
func (u *Upload) Close() error {
	if err := os.RemoveAll(u.folder); err != nil {
		return failed(err, "removing an upload")
	}
	return nil
}
