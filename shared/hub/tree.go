package hub

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// File is one file of a revision.
type File struct {
	Path string
	Size int64
	ETag string // names the content: its SHA-256 if LFS keeps it, else the SHA-1 of its git blob
	xet  string // for Python alone, which can fetch the file in another way with it
	git  string // the git blob, which for LFS is that of a pointer
}

// isLFS tells by which hash the content is named.
func (f File) isLFS() bool { return sha256Pattern.MatchString(f.ETag) }

// Bounds on a listing.
const (
	maxFiles    = 200_000
	maxFileSize = 1 << 43 // 8 TiB
)

// resolve asks what commit a revision is.
func (c *Client) resolve(ctx context.Context, n Name) (string, error) {
	if commitPattern.MatchString(n.Revision) {
		return n.Revision, nil
	}
	var info struct {
		SHA string `json:"sha"`
	}
	place := n.String()
	_, err := c.askJSON(ctx, request{
		place: place, method: http.MethodGet, url: c.at("/api/models/"+n.Repo+"/revision/"+url.PathEscape(n.revision()), ""),
	}, nil, &info)
	if err != nil {
		return "", err
	}
	if !commitPattern.MatchString(info.SHA) {
		return "", fault.New(fault.Invalid, place, "the server names no commit; is the endpoint (HF_ENDPOINT) a Hub?")
	}
	return info.SHA, nil
}

// treeEntry is an element of the Hub's listing.
type treeEntry struct {
	Type string `json:"type"`
	OID  string `json:"oid"`
	Size int64  `json:"size"`
	Path string `json:"path"`
	LFS  *struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	} `json:"lfs"`
	XetHash string `json:"xetHash"`
}

// list asks for the files of a commit, page after page.
func (c *Client) list(ctx context.Context, n Name, commit string) ([]File, error) {
	next := c.at("/api/models/"+n.Repo+"/tree/"+commit, "recursive=true&expand=false")
	var files []File
	for page := 0; next != nil; page++ {
		if page == c.limits.pages {
			return nil, fault.New(fault.TooLarge, n.String(), "the listing has more than %d pages", c.limits.pages)
		}
		var entries []treeEntry
		header, err := c.askJSON(ctx, request{place: n.String(), method: http.MethodGet, url: next}, nil, &entries)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type != "file" {
				continue
			}
			f, err := e.file()
			if err != nil {
				return nil, fault.In(n.String(), err)
			}
			if len(files) == maxFiles {
				return nil, fault.New(fault.TooLarge, n.String(), "has more than %d files", maxFiles)
			}
			files = append(files, f)
		}
		if next, err = c.nextPage(next, header); err != nil {
			return nil, fault.In(n.String(), err)
		}
	}
	return files, nil
}

// file checks what a listing says of a file, of which paths on this machine will be made.
func (e treeEntry) file() (File, error) {
	f := File{Path: e.Path, Size: e.Size, ETag: e.OID, xet: e.XetHash, git: e.OID}
	if e.LFS != nil {
		f.Size, f.ETag = e.LFS.Size, e.LFS.OID
	}
	return f, f.check()
}

func (f File) check() error {
	switch {
	case !validPath(f.Path):
		return fault.New(fault.Invalid, "", "lists a file whose name could leave its folder, or is none on some system: %.100q", f.Path)
	case f.Size < 0 || f.Size > maxFileSize:
		return fault.New(fault.Invalid, f.Path, "is said to have %d bytes", f.Size)
	case !sha256Pattern.MatchString(f.ETag) && !commitPattern.MatchString(f.ETag):
		return fault.New(fault.Invalid, f.Path, "is listed without a hash")
	}
	return nil
}

// nextPage is where the Link header (RFC 8288) says that a listing goes on, nil if nowhere. It must be on the same server.
func (c *Client) nextPage(from *url.URL, h http.Header) (*url.URL, error) {
	for link := range strings.SplitSeq(strings.Join(h.Values("Link"), ","), ",") {
		target, parameters, _ := strings.Cut(strings.TrimSpace(link), ">")
		if !strings.HasPrefix(target, "<") || !strings.Contains(strings.ReplaceAll(parameters, " ", ""), `rel="next"`) {
			continue
		}
		next, err := from.Parse(target[1:])
		if err != nil || !sameOrigin(next, c.endpoint) {
			return nil, fault.Wrap(err, fault.Invalid, "", "the listing goes on on another server")
		}
		return next, nil
	}
	return nil, nil
}

// treeFile is a listing as Python keeps it, in trees/COMMIT.json.
type treeFile struct {
	Version int                     `json:"format_version"`
	Files   map[string]treeFileItem `json:"files"`
}

type treeFileItem struct {
	Size    int64  `json:"size"`
	Blob    string `json:"blob_id"`
	SHA256  string `json:"lfs_sha256,omitempty"`
	LFSSize *int64 `json:"lfs_size,omitempty"`
	Xet     string `json:"xet_hash,omitempty"`
}

const (
	treeVersion = 1
	maxTree     = 64 << 20 // bytes
)

// listing is the kept listing of a commit, which never changes; nil if there is none that can be used.
func (s storage) listing(commit string) []File {
	data, err := readSmall(s.tree(commit), maxTree)
	if err != nil {
		return nil
	}
	return parseListing(data)
}

func parseListing(data []byte) []File {
	var t treeFile
	if json.Unmarshal(data, &t) != nil || t.Version != treeVersion || len(t.Files) > maxFiles {
		return nil
	}
	files := make([]File, 0, len(t.Files))
	for path, item := range t.Files {
		f := File{Path: path, Size: item.Size, ETag: item.Blob, xet: item.Xet, git: item.Blob}
		if item.SHA256 != "" && item.LFSSize != nil {
			f.Size, f.ETag = *item.LFSSize, item.SHA256
		}
		if f.check() != nil {
			return nil
		}
		files = append(files, f)
	}
	return files
}

// keep writes a listing down.
func (s storage) keep(commit string, files []File) error {
	t := treeFile{Version: treeVersion, Files: make(map[string]treeFileItem, len(files))}
	for _, f := range files {
		item := treeFileItem{Size: f.Size, Blob: f.git, Xet: f.xet}
		if f.isLFS() {
			item.SHA256, item.LFSSize = f.ETag, &f.Size
		}
		t.Files[f.Path] = item
	}
	data, err := json.MarshalIndent(t, "", " ")
	if err != nil {
		return err
	}
	return writeFile(s.tree(commit), data)
}
