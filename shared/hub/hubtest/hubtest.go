// Package hubtest is a Hub for tests: the parts of the Hugging Face Hub's HTTP API that Medley and Python's huggingface_hub use, in memory,
// with the storage of large files on a server of its own, as the Hub has it.
package hubtest

import (
	"crypto/sha1" //nolint:gosec // git names its blobs so
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one that a server got.
type Request struct {
	Storage       bool // by the storage, not the Hub
	Method        string
	Path          string
	Range         string
	Authorization string
	UserAgent     string
}

// Server is a Hub. Its fields may be changed between requests, under Lock.
type Server struct {
	sync.Mutex
	URL      string // of the Hub
	Storage  string // of the storage
	Token    string // that private and gated repositories, and changes, need
	PageSize int    // files in a page of a listing; 0 for all
	PartSize int64  // large files are uploaded in parts of this size; 0 for whole
	// Before, if set, is asked before each request, and has answered it if it says so.
	Before func(w http.ResponseWriter, r *http.Request, storage bool) bool

	repos    map[string]*Repo
	objects  map[string][]byte // by SHA-256: the storage
	parts    map[string][][]byte
	requests []Request
}

// Repo is a repository: its commits by name, the newest being what main is.
type Repo struct {
	Private, Gated bool
	Refs           map[string]string // branch or tag to commit
	commits        map[string]map[string][]byte
	Messages       []string // of pushed commits, summary and description
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{Token: "hf_secret", repos: map[string]*Repo{}, objects: map[string][]byte{}, parts: map[string][][]byte{}}
	hub := httptest.NewServer(s.handler(false))
	storage := httptest.NewServer(s.handler(true))
	t.Cleanup(hub.Close)
	t.Cleanup(storage.Close)
	s.URL, s.Storage = hub.URL, storage.URL
	return s
}

// Commit adds a commit to a repository's main branch and returns its name. Files that are not in it are gone.
func (s *Server) Commit(repo string, files map[string]string) string {
	s.Lock()
	defer s.Unlock()
	all := map[string][]byte{}
	for name, text := range files {
		all[name] = []byte(text)
	}
	return s.commit(repo, all)
}

func (s *Server) commit(repo string, files map[string][]byte) string {
	r := s.repos[repo]
	if r == nil {
		r = &Repo{Refs: map[string]string{}, commits: map[string]map[string][]byte{}}
		s.repos[repo] = r
	}
	name := hash(sha1.New(), fmt.Appendf(nil, "%s %d %v", repo, len(r.commits), files)) //nolint:gosec // git's
	r.commits[name] = files
	r.Refs["main"] = name
	for path, data := range files {
		if isLarge(path) {
			s.objects[sha(data)] = data
		}
	}
	return name
}

// Repo returns a repository, nil if there is none.
func (s *Server) Repo(name string) *Repo {
	s.Lock()
	defer s.Unlock()
	return s.repos[name]
}

// Files is what a branch of a repository holds.
func (r *Repo) Files(ref string) map[string][]byte { return r.commits[r.Refs[ref]] }

// Requests are all that came so far and that keep allows.
func (s *Server) Requests(keep func(Request) bool) []Request {
	s.Lock()
	defer s.Unlock()
	var all []Request
	for _, r := range s.requests {
		if keep(r) {
			all = append(all, r)
		}
	}
	return all
}

// Forget forgets the requests so far.
func (s *Server) Forget() {
	s.Lock()
	defer s.Unlock()
	s.requests = nil
}

func (s *Server) handler(storage bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.Lock()
		s.requests = append(s.requests, Request{storage, r.Method, r.URL.EscapedPath(), r.Header.Get("Range"), r.Header.Get("Authorization"), r.UserAgent()})
		before := s.Before
		s.Unlock()
		if before != nil && before(w, r, storage) {
			return
		}
		if storage {
			s.serveStorage(w, r)
			return
		}
		s.serveHub(w, r)
	})
}

func (s *Server) serveHub(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	switch {
	case r.URL.Path == "/api/repos/create":
		s.create(w, r)
	case len(parts) >= 4 && parts[0] == "api" && parts[1] == "models":
		s.serveAPI(w, r, parts[2]+"/"+parts[3], parts[4:])
	case len(parts) == 6 && strings.HasSuffix(parts[1], ".git"):
		s.batch(w, r, parts[0]+"/"+strings.TrimSuffix(parts[1], ".git"))
	case len(parts) >= 5 && parts[2] == "resolve":
		s.resolve(w, r, parts[0]+"/"+parts[1], unescape(parts[3]), unescape(strings.Join(parts[4:], "/")))
	case len(parts) == 2 && parts[0] == "verify":
		s.verify(w, r, parts[1])
	default:
		refuse(w, http.StatusNotFound, "", "no such page")
	}
}

// enter finds a repository and tells whether the request may see it; if not, it has been answered.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, repo string, write bool) *Repo {
	s.Lock()
	defer s.Unlock()
	known := s.repos[repo]
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case given != "" && given != s.Token:
		refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return nil
	case known == nil, known.Private && given == "":
		refuse(w, map[bool]int{true: http.StatusNotFound, false: http.StatusUnauthorized}[given != ""], "RepoNotFound", "Repository not found")
		return nil
	case known.Gated && given == "":
		refuse(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+repo+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
		return nil
	case write && given == "":
		refuse(w, http.StatusUnauthorized, "", "You need to be authenticated to do this")
		return nil
	}
	return known
}

// commitOf finds what a revision names.
func (s *Server) commitOf(r *Repo, revision string) (name string, files map[string][]byte, ok bool) {
	s.Lock()
	defer s.Unlock()
	if name, ok = r.Refs[revision]; !ok {
		name = revision
	}
	files, ok = r.commits[name]
	return name, files, ok
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, repo string, rest []string) {
	writes := r.Method == http.MethodPost
	known := s.enter(w, r, repo, writes)
	if known == nil {
		return
	}
	if len(rest) < 1 {
		rest = []string{"revision", "main"}
	}
	if len(rest) == 1 { // "tree" and the like, without a revision
		rest = append(rest, "main")
	}
	revision := unescape(rest[1])
	name, files, ok := s.commitOf(known, revision)
	if !ok {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	switch rest[0] {
	case "revision":
		answer(w, map[string]any{"id": repo, "modelId": repo, "sha": name, "private": known.Private, "siblings": []any{}, "tags": []string{}, "downloads": 0, "likes": 0})
	case "tree":
		s.tree(w, r, files)
	case "preupload":
		s.preupload(w, r, files)
	case "commit":
		s.push(w, r, repo, known, files)
	default:
		refuse(w, http.StatusNotFound, "", "no such page")
	}
}

func (s *Server) tree(w http.ResponseWriter, r *http.Request, files map[string][]byte) {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	from := 0
	fmt.Sscanf(r.URL.Query().Get("cursor"), "%d", &from) //nolint:errcheck // the first page has none
	names = names[min(from, len(names)):]
	if s.PageSize > 0 && len(names) > s.PageSize {
		names = names[:s.PageSize]
		next := *r.URL
		q := next.Query()
		q.Set("cursor", fmt.Sprint(from+s.PageSize))
		next.RawQuery = q.Encode()
		w.Header().Set("Link", "<"+s.URL+next.String()+">; rel=\"next\"")
	}
	list := []any{}
	for _, name := range names {
		data := files[name]
		entry := map[string]any{"type": "file", "path": name, "size": len(data), "oid": gitHash(data)}
		if isLarge(name) {
			pointer := fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sha(data), len(data))
			entry["oid"] = gitHash(pointer)
			entry["lfs"] = map[string]any{"oid": sha(data), "size": len(data), "pointerSize": len(pointer)}
		}
		list = append(list, entry)
	}
	answer(w, list)
}

// resolve serves a file: a small one at once, a large one by a redirect to the storage, as the Hub does.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request, repo, revision, file string) {
	known := s.enter(w, r, repo, false)
	if known == nil {
		return
	}
	name, files, ok := s.commitOf(known, revision)
	if !ok {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+revision)
		return
	}
	w.Header().Set("X-Repo-Commit", name)
	data, ok := files[file]
	if !ok {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	if !isLarge(file) {
		w.Header().Set("ETag", `"`+gitHash(data)+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
		return
	}
	w.Header().Set("X-Linked-Etag", `"`+sha(data)+`"`)
	w.Header().Set("X-Linked-Size", fmt.Sprint(len(data)))
	w.Header().Set("Location", s.Storage+"/objects/"+sha(data))
	w.WriteHeader(http.StatusFound)
}

func (s *Server) serveStorage(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/objects/")
	switch r.Method {
	case http.MethodPut:
		s.store(w, r, name)
	case http.MethodPost:
		s.join(w, r, name)
	default:
		s.Lock()
		data, ok := s.objects[name]
		s.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"`+name[:32]+`"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}
}

func isLarge(name string) bool {
	return slices.ContainsFunc([]string{".safetensors", ".bin", ".gguf"}, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

func sha(data []byte) string { return hash(sha256.New(), data) }

func gitHash(data []byte) string {
	return hash(sha1.New(), append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...)) //nolint:gosec // git's
}

func hash(h interface {
	io.Writer
	Sum([]byte) []byte
}, data []byte) string {
	_, _ = h.Write(data) // hashes do not fail
	return hex.EncodeToString(h.Sum(nil))
}
