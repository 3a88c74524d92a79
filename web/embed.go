// Package web is the playground: the page that medley serve shows, built by `task web` from web/app and embedded here.
//
// A program that was built before the page has none; its handler then says which command makes one.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/medley-lora/medley/shared/zoo"
)

// all: keeps .gitkeep, which is what dist holds before it is built.
//
//go:embed all:dist
var embedded embed.FS

// Make is the command that builds the page.
const Make = "go tool -modfile=tools/go.mod task web"

// policy lets the page run its own files and WebAssembly, and talk to its own server: no inline script, no eval, nobody else.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"worker-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// plainPolicy is that of the page that stands in for it.
const plainPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// assets are the files whose addresses name their content, which browsers keep for ever.
const assets = "assets/"

// types are those that Go does not know everywhere.
var types = map[string]string{
	".js": "text/javascript; charset=utf-8", ".wasm": "application/wasm", ".jsonl": "application/jsonl", ".json": "application/json",
	".safetensors": "application/octet-stream", ".model": "application/octet-stream", ".svg": "image/svg+xml", ".css": "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
}

// Built tells whether this program holds the page.
func Built() bool { return built(dist()) }

func built(files fs.FS) bool {
	_, err := fs.Stat(files, "index.html.gz")
	return err == nil
}

func dist() fs.FS {
	sub, err := fs.Sub(embedded, "dist")
	if err != nil {
		panic(err) // the embedded folder is part of the program
	}
	return sub
}

// Handler serves the page: its files, index.html for every address of a view, 404 for what looks like a file and is none.
func Handler() http.Handler { return handler(dist(), zoo.Files()) }

func handler(files, models fs.FS) http.Handler {
	if !built(files) {
		return http.HandlerFunc(missing)
	}
	return &site{files: files, models: models}
}

// missing says how to build the page.
func missing(w http.ResponseWriter, _ *http.Request) {
	secure(w.Header(), plainPolicy)
	w.Header().Set("Content-Type", types[".html"])
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, "<!doctype html><html lang=en><meta charset=utf-8><title>Medley</title>"+
		"<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>"+
		"<h1>The playground is not in this program</h1><p>It was built without the page. Build the page, then the program again:"+
		"<pre>"+Make+"\ngo build ./cmd/medley</pre><p>The API works without it: <a href=/docs>its description</a>.")
}

func secure(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
}

// site serves built files. What compresses well is there as gzip only, under its name with .gz.
type site struct{ files, models fs.FS }

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header(), policy)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are answered here", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if path.Ext(name) == "" && !strings.HasPrefix(name, assets) {
		name = "index.html" // of a view
	}
	content, packed, err := s.read(name)
	if err != nil {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	s.write(w, r, name, content, packed)
}

// hidden are the files that are not the page's own: what keeps the folder, and how files are stored.
func hidden(name string) bool {
	return strings.HasPrefix(path.Base(name), ".") || strings.HasSuffix(name, ".gz")
}

// read finds a file: of the page, or of the zoo, which has an address of its own.
func (s *site) read(name string) (content []byte, packed bool, err error) {
	if hidden(name) {
		return nil, false, fs.ErrNotExist
	}
	if rest, ok := strings.CutPrefix(name, assets+"zoo-"); ok {
		_, file, _ := strings.Cut(rest, "/")
		content, err = fs.ReadFile(s.models, file)
		return content, false, err
	}
	if content, err = fs.ReadFile(s.files, name+".gz"); err == nil {
		return content, true, nil
	}
	content, err = fs.ReadFile(s.files, name)
	return content, false, err
}

// write answers with a file. Files of assets never change under their names; of the others a tag tells whether they did.
func (s *site) write(w http.ResponseWriter, r *http.Request, name string, content []byte, packed bool) {
	h := w.Header()
	if packed {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
		} else if content = unpack(content); content == nil {
			http.Error(w, "the file cannot be read", http.StatusInternalServerError)
			return
		}
	}
	h.Set("Content-Type", contentType(name))
	if strings.HasPrefix(name, assets) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		sum := sha256.Sum256(content)
		tag := `"` + hex.EncodeToString(sum[:16]) + `"`
		h.Set("Cache-Control", "no-cache") // asked for each time, and told that nothing changed
		h.Set("ETag", tag)
		if strings.Contains(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(content) // a client that leaves is no concern
	}
}

// takesGzip tells whether a client names gzip and does not refuse it.
func takesGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.ToLower(coding), ";")
		if strings.TrimSpace(name) == "gzip" {
			quality := strings.TrimLeft(strings.TrimPrefix(strings.TrimSpace(weight), "q="), "0.")
			return weight == "" || quality != ""
		}
	}
	return false
}

// unpack is nil for what is no gzip.
func unpack(packed []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	return content
}

func contentType(name string) string {
	extension := path.Ext(name)
	if t, ok := types[extension]; ok {
		return t
	}
	if t := mime.TypeByExtension(extension); t != "" {
		return t
	}
	return "application/octet-stream"
}
