package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/medley-lora/medley/edge/api"
	"github.com/medley-lora/medley/edge/gateway"
	"github.com/medley-lora/medley/edge/record"
	"github.com/medley-lora/medley/shared/fault"
)

// memory is every service behind a gateway, as small as the tests of the gateway allow.
type memory struct {
	mu           sync.Mutex
	bases        table[record.Base]
	modules      table[record.Module]
	compositions table[record.Composition]
	evaluations  table[api.Evaluation]
	plugins      table[record.Plugin]
	keys         table[record.Key]
	blobs        map[string][]byte
	events       map[string][]gateway.Event
	changed      chan struct{} // closed and made anew when there are more events
	once         map[string]string
	broken       error              // what Ready says of the database
	refuse       error              // what every service that can be asked about a composition says
	lines        []json.RawMessage  // what Generate writes
	generated    error              // how Generate and Complete end
	asked        gateway.Completion // what Complete was last asked
}

func newMemory() *memory {
	m := &memory{blobs: map[string][]byte{}, events: map[string][]gateway.Event{}, changed: make(chan struct{}), once: map[string]string{}}
	m.bases.add(record.Base{Object: m.object("root", "bas"), Name: "google/flan-t5-base", Digest: hashOf(nil), Size: 1})
	return m
}

// table holds the objects of one kind, oldest first.
type table[T any] struct {
	ids    []string
	owners map[string]string
	rows   map[string]T
}

func (t *table[T]) add(row T) T {
	if t.rows == nil {
		t.rows, t.owners = map[string]T{}, map[string]string{}
	}
	data, _ := json.Marshal(row)
	var o record.Object
	_ = json.Unmarshal(data, &o)
	if !slices.Contains(t.ids, o.ID) {
		t.ids = append(t.ids, o.ID)
		t.owners[o.ID] = o.Owner
	}
	t.rows[o.ID] = row
	return row
}

func (t *table[T]) get(see func(T) bool, id string) (T, error) {
	row, ok := t.rows[id]
	if !ok || !see(row) {
		var none T
		return none, fault.New(fault.NotFound, "id", "there is none of this id")
	}
	return row, nil
}

func (t *table[T]) remove(owner, id string) error {
	if t.owners[id] != owner {
		return fault.New(fault.NotFound, "id", "there is none of this id")
	}
	t.ids = slices.DeleteFunc(t.ids, func(other string) bool { return other == id })
	delete(t.rows, id)
	delete(t.owners, id)
	return nil
}

// list uses positions from the end as cursors.
func (t *table[T]) list(see func(T) bool, p gateway.Page) (l gateway.List[T], err error) {
	at := len(t.ids)
	if p.After != "" {
		if at, err = strconv.Atoi(p.After); err != nil || at < 0 || at > len(t.ids) || strconv.Itoa(at) != p.After {
			return l, fault.New(fault.Invalid, "cursor", "is not one that a list ended with")
		}
	}
	for at--; at >= 0; at-- {
		if row := t.rows[t.ids[at]]; see(row) {
			if len(l.Items) == p.Limit {
				l.Next = strconv.Itoa(at + 1)
				return l, nil
			}
			l.Items = append(l.Items, row)
		}
	}
	return l, nil
}

func (m *memory) object(owner, kind string) record.Object {
	var b [16]byte
	rand.Read(b[:])
	id := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
	return record.Object{ID: kind + "_" + id, Owner: owner, Created: time.Now()}
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// repeated finds what a key made before.
func (m *memory) repeated(owner, key string, content any) (id string, err error) {
	if key == "" {
		return "", nil
	}
	data, _ := json.Marshal(content)
	before, ok := m.once[owner+" "+key]
	if !ok {
		return "", nil
	}
	id, hash, _ := strings.Cut(before, " ")
	if hash != hashOf(data) {
		return "", fault.New(gateway.Conflict, "Idempotency-Key", "came before with another request")
	}
	return id, nil
}

func (m *memory) made(owner, key string, content any, id string) {
	data, _ := json.Marshal(content)
	m.once[owner+" "+key] = id + " " + hashOf(data)
}

func (m *memory) ListBases(_ context.Context, _ string, p gateway.Page) (gateway.List[record.Base], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bases.list(func(record.Base) bool { return true }, p)
}

func (m *memory) Base(_ context.Context, _, id string) (record.Base, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bases.get(func(record.Base) bool { return true }, id)
}

func seesModule(owner string) func(record.Module) bool {
	return func(m record.Module) bool { return m.Owner == owner || m.Visibility == record.Shared }
}

func (m *memory) ListModules(_ context.Context, owner, q string, p gateway.Page) (gateway.List[record.Module], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sees := seesModule(owner)
	return m.modules.list(func(r record.Module) bool { return sees(r) && strings.Contains(r.Name+"\n"+r.Task+"\n"+r.Base, q) }, p)
}

func (m *memory) Module(_ context.Context, owner, id string) (record.Module, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.modules.get(seesModule(owner), id)
}

func (m *memory) UploadModule(_ context.Context, owner string, n gateway.NewModule, files gateway.Files, key string) (record.Module, error) {
	hash := sha256.New()
	for {
		name, content, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return record.Module{}, err
		}
		_, _ = io.WriteString(hash, name)
		if _, err := io.Copy(hash, content); err != nil {
			return record.Module{}, err
		}
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	m.mu.Lock()
	defer m.mu.Unlock()
	if id, err := m.repeated(owner, key, []any{n, digest}); err != nil || id != "" {
		return m.modules.rows[id], err
	}
	r := m.modules.add(record.Module{
		Object: m.object(owner, "mod"), Name: n.Name, Task: n.Task, Author: n.Author, Licence: n.Licence, Visibility: n.Visibility,
		Digest: digest, Size: 7, Rank: 8,
	})
	m.blobs[r.ID] = []byte("PK\x03\x04zip")
	m.made(owner, key, []any{n, digest}, r.ID)
	return r, nil
}

func (m *memory) DeleteModule(_ context.Context, owner, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.modules.remove(owner, id)
}

func (m *memory) OpenModule(ctx context.Context, owner, id string) (gateway.Content, error) {
	r, err := m.Module(ctx, owner, id)
	return m.open(id, r.Digest), err
}

func (m *memory) open(id, digest string) gateway.Content {
	data := m.blobs[id]
	return gateway.Content{ReadCloser: io.NopCloser(bytes.NewReader(data)), Digest: digest, Size: int64(len(data))}
}

// Ready finds everything well but what is broken.
func (m *memory) Ready(context.Context) map[string]error {
	return map[string]error{"database": m.broken, "redis": nil}
}

func (m *memory) WriteMetrics(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "medley_up 1\n")
	return err
}

// everything that a token may do.
var everything = []string{
	"compose:run", "compose:read", "modules:read", "modules:write", "evaluate:run", "generate:run", "plugins:read", "plugins:write",
	"tokens:write", "admin",
}

// Authorize takes tokens of the form "name" or "name:scope,scope".
func (m *memory) Authorize(c echo.Context, scope string) (gateway.Principal, error) {
	token, ok := strings.CutPrefix(c.Request().Header.Get("Authorization"), "Bearer ")
	name, scopes, limited := strings.Cut(token, "=")
	if !ok || name == "" || name == "bad" {
		return gateway.Principal{}, fault.Wrap(errors.New("secret detail"), gateway.Unauthenticated, "", "the token is not good")
	}
	p := gateway.Principal{ID: name, Scopes: everything, TokenID: "jti", Expires: time.Now().Add(time.Hour)}
	if limited {
		p.Scopes = strings.Split(scopes, ",")
	}
	if !slices.Contains(p.Scopes, scope) {
		return p, fault.New(gateway.Forbidden, "", "the token lacks the scope %s", scope)
	}
	return p, nil
}
