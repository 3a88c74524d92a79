package hub

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/medley-lora/medley/shared/fault"
)

// maxParts bounds the parts of an upload.
const maxParts = 10_000

// action is what LFS wants done.
type action struct {
	Href   string         `json:"href"`
	Header map[string]any `json:"header"`
}

type lfsObject struct {
	OID     string `json:"oid"`
	Size    int64  `json:"size"`
	Actions *struct {
		Upload *action `json:"upload"`
		Verify *action `json:"verify"`
	} `json:"actions"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// uploadLarge brings large files to the storage, by git-lfs's batch API.
func (c *Client) uploadLarge(ctx context.Context, n Name, changed []*prepared, observe func(Progress)) (int64, error) {
	byHash := map[string]*prepared{}
	type object struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	question := map[string]any{
		"operation": "upload", "transfers": []string{"basic", "multipart"}, "hash_algo": "sha256", "ref": map[string]string{"name": DefaultRevision},
	}
	var objects []object
	for _, p := range changed {
		if p.large && byHash[p.sha256] == nil {
			byHash[p.sha256] = p
			objects = append(objects, object{p.sha256, p.size})
		}
	}
	if len(objects) == 0 {
		return 0, nil
	}
	question["objects"] = objects
	lfs := http.Header{"Content-Type": {"application/vnd.git-lfs+json"}, "Accept": {"application/vnd.git-lfs+json"}}
	var answer struct {
		Objects []lfsObject `json:"objects"`
	}
	if _, err := c.askJSON(ctx, request{place: n.Repo, method: http.MethodPost, url: c.at("/"+n.Repo+".git/info/lfs/objects/batch", ""), header: lfs}, question, &answer); err != nil {
		return 0, err
	}
	t := &tally{observe: observe}
	var sent int64
	for _, o := range answer.Objects {
		p := byHash[o.OID]
		if p == nil {
			return sent, fault.New(fault.Invalid, n.Repo, "the storage answers for a file that was not named")
		}
		delete(byHash, o.OID)
		place := n.Repo + ": " + p.Path
		if o.Error != nil {
			return sent, fault.New(fault.Invalid, place, "the storage refuses it (status %d): %.200q", o.Error.Code, o.Error.Message)
		}
		if o.Actions == nil || o.Actions.Upload == nil { // it is there
			continue
		}
		t.expect(1, p.size)
		if err := c.uploadOne(ctx, place, p, o.Actions.Upload, t); err != nil {
			return sent, err
		}
		if v := o.Actions.Verify; v != nil {
			if err := c.tell(ctx, place, v.Href, map[string]any{"oid": p.sha256, "size": p.size}); err != nil {
				return sent, err
			}
		}
		sent += p.size
		t.done(File{Path: p.Path})
	}
	for _, p := range byHash {
		return sent, fault.New(fault.Invalid, n.Repo+": "+p.Path, "the storage does not answer for it")
	}
	return sent, nil
}

// tell posts JSON to a place that the storage names.
func (c *Client) tell(ctx context.Context, place, href string, body any) error {
	u, err := uploadURL(place, href)
	if err == nil {
		_, err = c.askJSON(ctx, request{place: place, method: http.MethodPost, url: u}, body, nil)
	}
	return err
}

func uploadURL(place, href string) (*url.URL, error) {
	u, err := url.Parse(href)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, fault.New(fault.Invalid, place, "the storage names no http or https URL to upload to")
	}
	return u, nil
}

// uploadOne sends a file whole, or in parts where the storage wants that: then the action's header has chunk_size, and a URL for each number.
func (c *Client) uploadOne(ctx context.Context, place string, p *prepared, a *action, t *tally) error {
	size, isMulti := number(a.Header["chunk_size"])
	if !isMulti {
		_, err := c.put(ctx, place, p, a.Href, 0, p.size, t)
		return err
	}
	if size < 1 || (p.size+size-1)/size > maxParts {
		return fault.New(fault.Invalid, place, "the storage wants it in parts of %d bytes", size)
	}
	type part struct {
		Number int    `json:"partNumber"`
		ETag   string `json:"etag"`
	}
	var parts []part
	for at := int64(0); at < p.size; at += size {
		i := len(parts) + 1
		href := ""
		for key, value := range a.Header {
			if k, ok := number(key); ok && k == int64(i) {
				href, _ = value.(string)
			}
		}
		tag, err := c.put(ctx, place, p, href, at, min(size, p.size-at), t)
		if err != nil {
			return err
		}
		parts = append(parts, part{i, tag})
	}
	return c.tell(ctx, place, a.Href, map[string]any{"oid": p.sha256, "parts": parts})
}

func number(v any) (int64, bool) {
	var n int64
	switch v := v.(type) {
	case float64:
		return int64(v), v == float64(int64(v))
	case string:
		if strings.Trim(v, "0123456789") != "" || v == "" || len(v) > 15 {
			return 0, false
		}
		_, err := fmt.Sscanf(v, "%d", &n)
		return n, err == nil
	}
	return 0, false
}

// put sends size bytes from offset at, and returns what the storage calls them.
func (c *Client) put(ctx context.Context, place string, p *prepared, href string, at, size int64, t *tally) (string, error) {
	u, err := uploadURL(place, href)
	if err != nil {
		return "", err
	}
	var sent *atomic.Int64 // by the attempt under way; a transport may still read the body of the one before
	answer, err := c.ask(ctx, request{place: place, method: http.MethodPut, url: u, header: http.Header{}, body: func() (io.ReadCloser, int64, error) {
		if sent != nil {
			t.add(File{Path: p.Path}, -sent.Load())
		}
		now := new(atomic.Int64)
		sent = now
		body, _, err := p.open()
		if err != nil {
			return nil, 0, err
		}
		if _, err := io.CopyN(io.Discard, body, at); err != nil {
			body.Close()
			return nil, 0, readFault(err)
		}
		return &counted{io.LimitReader(body, size), body, func(n int) { now.Add(int64(n)); t.add(File{Path: p.Path}, int64(n)) }}, size, nil
	}})
	if err != nil {
		return "", err
	}
	defer drain(answer.Body)
	if answer.StatusCode/100 != 2 {
		return "", c.refusal(answer, place)
	}
	return answer.Header.Get("ETag"), nil
}

// counted is a body that says how much of it was read.
type counted struct {
	io.Reader
	io.Closer
	read func(n int)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read(n)
	return n, err
}
