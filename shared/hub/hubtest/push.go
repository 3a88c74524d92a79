package hubtest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

// refuse answers with an error as the Hub does: a code and a message in the header, and the message in the body.
func refuse(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) // as above
}

func unescape(s string) string {
	plain, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return plain
}

func read(r *http.Request, v any) bool { return json.NewDecoder(r.Body).Decode(v) == nil }

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var q struct{ Name, Organization, Visibility string }
	if !read(r, &q) || r.Header.Get("Authorization") != "Bearer "+s.Token {
		refuse(w, http.StatusUnauthorized, "", "Invalid username or password.")
		return
	}
	repo := q.Organization + "/" + q.Name
	s.Lock()
	defer s.Unlock()
	if s.repos[repo] != nil {
		refuse(w, http.StatusConflict, "", "You already created this model repo")
		return
	}
	s.commit(repo, map[string][]byte{".gitattributes": []byte("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")})
	s.repos[repo].Private = q.Visibility == "private"
	answer(w, map[string]string{"url": s.URL + "/" + repo, "name": repo})
}

func (s *Server) preupload(w http.ResponseWriter, r *http.Request, files map[string][]byte) {
	var q struct {
		Files []struct {
			Path, Sample string
			Size         int64
		}
	}
	if !read(r, &q) {
		refuse(w, http.StatusBadRequest, "", "no JSON")
		return
	}
	list := []any{}
	for _, f := range q.Files {
		mode, oid := "regular", gitHash(files[f.Path])
		if isLarge(f.Path) {
			mode, oid = "lfs", sha(files[f.Path])
		}
		entry := map[string]any{"path": f.Path, "uploadMode": mode, "shouldIgnore": false}
		if _, ok := files[f.Path]; ok {
			entry["oid"] = oid
		}
		list = append(list, entry)
	}
	answer(w, map[string]any{"files": list})
}

func (s *Server) batch(w http.ResponseWriter, r *http.Request, repo string) {
	if s.enter(w, r, repo, true) == nil {
		return
	}
	var q struct {
		Operation string
		Objects   []struct {
			OID  string
			Size int64
		}
	}
	if !read(r, &q) || q.Operation != "upload" {
		refuse(w, http.StatusBadRequest, "", "no upload")
		return
	}
	list := []any{}
	for _, o := range q.Objects {
		entry := map[string]any{"oid": o.OID, "size": o.Size}
		s.Lock()
		_, known := s.objects[o.OID]
		s.Unlock()
		if !known {
			header, href := map[string]any{}, s.Storage+"/objects/"+o.OID
			if s.PartSize > 0 {
				header["chunk_size"] = fmt.Sprint(s.PartSize)
				for i := int64(0); i*s.PartSize < o.Size; i++ {
					header[fmt.Sprintf("%05d", i+1)] = fmt.Sprintf("%s?part=%d", href, i)
				}
			}
			entry["actions"] = map[string]any{
				"upload": map[string]any{"href": href, "header": header}, "verify": map[string]any{"href": s.URL + "/verify/" + o.OID},
			}
		}
		list = append(list, entry)
	}
	answer(w, map[string]any{"transfer": "basic", "objects": list})
}

// store keeps an object, or a part of one.
func (s *Server) store(w http.ResponseWriter, r *http.Request, name string) {
	data, err := io.ReadAll(r.Body)
	part := r.URL.Query().Get("part")
	if err != nil || part == "" && sha(data) != name {
		http.Error(w, "not what was announced", http.StatusBadRequest)
		return
	}
	s.Lock()
	defer s.Unlock()
	if part == "" {
		s.objects[name] = data
	} else {
		s.parts[name] = append(s.parts[name], data)
	}
	w.Header().Set("ETag", `"`+sha(data)[:32]+`"`)
}

// join makes an object of its parts.
func (s *Server) join(w http.ResponseWriter, r *http.Request, name string) {
	var q struct {
		OID   string
		Parts []struct {
			PartNumber int
			ETag       string
		}
	}
	s.Lock()
	defer s.Unlock()
	ok := read(r, &q) && q.OID == name && len(q.Parts) == len(s.parts[name])
	for i := 0; ok && i < len(q.Parts); i++ {
		ok = q.Parts[i].PartNumber == i+1 && q.Parts[i].ETag == `"`+sha(s.parts[name][i])[:32]+`"`
	}
	data := bytes.Join(s.parts[name], nil)
	if !ok || sha(data) != name {
		http.Error(w, "the parts do not fit", http.StatusBadRequest)
		return
	}
	s.objects[name] = data
	answer(w, map[string]bool{"ok": true})
}

func (s *Server) verify(w http.ResponseWriter, r *http.Request, name string) {
	var q struct {
		OID  string
		Size int
	}
	s.Lock()
	defer s.Unlock()
	if data, ok := s.objects[name]; !read(r, &q) || !ok || q.OID != name || q.Size != len(data) || r.Header.Get("Authorization") != "Bearer "+s.Token {
		refuse(w, http.StatusBadRequest, "", "not stored")
		return
	}
	answer(w, map[string]bool{"ok": true})
}

// push makes a commit on top of files.
func (s *Server) push(w http.ResponseWriter, r *http.Request, repo string, known *Repo, files map[string][]byte) {
	next := maps.Clone(files)
	message := ""
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var line struct {
			Key   string
			Value struct{ Summary, Description, Path, Content, Encoding, Algo, OID string }
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			refuse(w, http.StatusBadRequest, "", "no JSON lines")
			return
		}
		v := line.Value
		switch line.Key {
		case "header":
			message = v.Summary + "\n\n" + v.Description
		case "file":
			data, err := base64.StdEncoding.DecodeString(v.Content)
			if err != nil || v.Encoding != "base64" {
				refuse(w, http.StatusBadRequest, "", "no base64")
				return
			}
			next[v.Path] = data
		case "lfsFile":
			s.Lock()
			data, ok := s.objects[v.OID]
			s.Unlock()
			if !ok || v.Algo != "sha256" {
				refuse(w, http.StatusBadRequest, "", "the object was not uploaded")
				return
			}
			next[v.Path] = data
		default:
			refuse(w, http.StatusBadRequest, "", "unknown key "+line.Key)
			return
		}
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-ndjson") || message == "" {
		refuse(w, http.StatusBadRequest, "", "no commit")
		return
	}
	s.Lock()
	defer s.Unlock()
	name := s.commit(repo, next)
	known.Messages = append(known.Messages, message)
	answer(w, map[string]any{"success": true, "commitOid": name, "commitUrl": s.URL + "/" + repo + "/commit/" + name, "hookOutput": ""})
}
