package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names its blobs so
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/medley-lora/medley/shared/fault"
)

// Upload is a file to publish: its name in the repository, and its content at hand or in a file.
type Upload struct {
	Path  string
	Data  []byte
	Local string // path of the content; empty for Data
}

// PushOptions say how to publish.
type PushOptions struct {
	Public      bool // visibility of a repository that is made; one that there is keeps its own
	Message     string
	Description string
}

// Pushed is what became of a push.
type Pushed struct {
	Commit    string // of the Hub; the newest one if nothing had to change
	Created   bool   // the repository was made
	Unchanged int    // files that were there already
	Uploaded  int64  // bytes that went to the storage of large files
}

// prepared is an upload with what the Hub wants to know of it.
type prepared struct {
	Upload
	size   int64
	sha256 string
	git    string // SHA-1 of the git blob
	sample []byte
	large  bool // goes to LFS
	same   bool // is on the Hub already
}

// The Hub decides by name and the first bytes where content goes; what is small goes with the commit.
const (
	sampleSize   = 512
	maxSmallFile = 16 << 20
)

// Push commits files to the main branch of a repository, which is made if there is none. Either the whole commit is there afterwards or
// nothing of it; large files that were uploaded for a push that failed are not uploaded again by the next.
func (c *Client) Push(ctx context.Context, n Name, files []Upload, o PushOptions, observe func(Progress)) (*Pushed, error) {
	if c.config.Token == "" {
		return nil, fault.New(fault.Invalid, n.Repo, "pushing needs a token that may write: set HF_TOKEN, or let `hf auth login` write the token file")
	}
	all := make([]*prepared, len(files))
	for i, f := range files {
		var err error
		if all[i], err = prepare(f); err != nil {
			return nil, fault.In(f.Path, err)
		}
	}
	var done Pushed
	var err error
	if done.Created, err = c.create(ctx, n, !o.Public); err != nil {
		return nil, err
	}
	if err := c.preupload(ctx, n, all); err != nil {
		return nil, err
	}
	var changed []*prepared
	for _, p := range all {
		if p.same {
			done.Unchanged++
		} else {
			changed = append(changed, p)
		}
	}
	if len(changed) == 0 {
		done.Commit, err = c.resolve(ctx, n)
		return &done, err
	}
	if done.Uploaded, err = c.uploadLarge(ctx, n, changed, observe); err != nil {
		return nil, err
	}
	done.Commit, err = c.commit(ctx, n, changed, o)
	return &done, err
}

// prepare hashes a file.
func prepare(f Upload) (*prepared, error) {
	if !validPath(f.Path) {
		return nil, fault.New(fault.Invalid, "", "is no name for a file in a repository")
	}
	p := &prepared{Upload: f}
	body, size, err := p.open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	p.size = size
	content, blob := sha256.New(), sha1.New() //nolint:gosec // git's
	fmt.Fprintf(blob, "blob %d\x00", size)
	p.sample = make([]byte, min(size, sampleSize))
	if _, err := io.ReadFull(body, p.sample); err != nil {
		return nil, readFault(err)
	}
	content.Write(p.sample)
	blob.Write(p.sample)
	if n, err := io.Copy(io.MultiWriter(content, blob), body); err != nil || n != size-int64(len(p.sample)) {
		return nil, readFault(err)
	}
	p.sha256, p.git = hex.EncodeToString(content.Sum(nil)), hex.EncodeToString(blob.Sum(nil))
	return p, nil
}

func readFault(err error) error {
	return fault.Wrap(err, fault.Invalid, "", "cannot be read, or changed while it was")
}

// open begins to read the content.
func (p *prepared) open() (io.ReadCloser, int64, error) {
	if p.Local == "" {
		return fromBytes(p.Data)()
	}
	f, err := os.Open(p.Local)
	if err != nil {
		return nil, 0, readFault(err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, 0, readFault(err)
	}
	return f, info.Size(), nil
}

// create makes the repository unless there is one.
func (c *Client) create(ctx context.Context, n Name, private bool) (bool, error) {
	organization, name, _ := strings.Cut(n.Repo, "/")
	visibility := "public"
	if private {
		visibility = "private"
	}
	body, err := json.Marshal(map[string]string{"name": name, "organization": organization, "type": "model", "visibility": visibility})
	if err != nil {
		return false, err
	}
	answer, err := c.ask(ctx, request{
		place: n.Repo, method: http.MethodPost, url: c.at("/api/repos/create", ""), header: http.Header{"Content-Type": {"application/json"}}, body: fromBytes(body),
	})
	if err != nil {
		return false, err
	}
	defer drain(answer.Body)
	switch {
	case answer.StatusCode/100 == 2:
		return true, nil
	case answer.StatusCode == http.StatusConflict: // there is one
		return false, nil
	}
	return false, c.refusal(answer, n.Repo)
}

// preupload asks where each file goes, and what the Hub has of it.
func (c *Client) preupload(ctx context.Context, n Name, all []*prepared) error {
	type item struct {
		Path   string `json:"path"`
		Sample string `json:"sample"`
		Size   int64  `json:"size"`
	}
	var question struct {
		Files []item `json:"files"`
	}
	for _, p := range all {
		question.Files = append(question.Files, item{p.Path, base64.StdEncoding.EncodeToString(p.sample), p.size})
	}
	var answer struct {
		Files []struct {
			Path, UploadMode, OID string
			ShouldIgnore          bool
		}
	}
	if _, err := c.askJSON(ctx, request{place: n.Repo, method: http.MethodPost, url: c.at("/api/models/"+n.Repo+"/preupload/"+DefaultRevision, "")}, question, &answer); err != nil {
		return err
	}
	for _, p := range all {
		found := false
		for _, f := range answer.Files {
			if f.Path != p.Path {
				continue
			}
			found = true
			p.large = f.UploadMode == "lfs" && p.size > 0 // storage takes no empty files
			p.same = f.OID == p.sha256 || f.OID == p.git
			if f.ShouldIgnore {
				return fault.New(fault.Invalid, n.Repo+": "+p.Path, "the repository's .gitignore excludes it")
			}
		}
		if !found {
			return fault.New(fault.Invalid, n.Repo, "the server does not say where %s goes; is the endpoint (HF_ENDPOINT) a Hub?", p.Path)
		}
		if !p.large && p.size > maxSmallFile {
			return fault.New(fault.TooLarge, n.Repo+": "+p.Path, "has %d bytes, and the Hub does not take it for a large file", p.size)
		}
	}
	return nil
}

// commit makes the commit: lines of JSON, of which the first is its message.
func (c *Client) commit(ctx context.Context, n Name, changed []*prepared, o PushOptions) (string, error) {
	var body strings.Builder
	line := func(key string, value any) error {
		data, err := json.Marshal(map[string]any{"key": key, "value": value})
		body.Write(append(data, '\n'))
		return err
	}
	err := line("header", map[string]string{"summary": o.Message, "description": o.Description})
	for _, p := range changed {
		if err != nil {
			return "", err
		}
		if p.large {
			err = line("lfsFile", map[string]any{"path": p.Path, "algo": "sha256", "oid": p.sha256, "size": p.size})
			continue
		}
		content, reading := p.content()
		if reading != nil {
			return "", fault.In(p.Path, reading)
		}
		err = line("file", map[string]string{"path": p.Path, "encoding": "base64", "content": base64.StdEncoding.EncodeToString(content)})
	}
	if err != nil {
		return "", err
	}
	var answer struct {
		OID string `json:"commitOid"`
	}
	_, err = c.readJSON(ctx, request{
		place: n.Repo, method: http.MethodPost, url: c.at("/api/models/"+n.Repo+"/commit/"+DefaultRevision, ""),
		header: http.Header{"Content-Type": {"application/x-ndjson"}, "Accept": {"application/json"}}, body: fromBytes([]byte(body.String())),
	}, &answer)
	return answer.OID, err
}

// content reads a small file, which must be what it was when it was hashed.
func (p *prepared) content() ([]byte, error) {
	body, _, err := p.open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxSmallFile+1))
	if err != nil {
		return nil, readFault(err)
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != p.sha256 {
		return nil, readFault(nil)
	}
	return data, nil
}
