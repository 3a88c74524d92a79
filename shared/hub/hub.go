// Package hub speaks the HTTP API of the Hugging Face Hub and keeps files where Python's huggingface_hub keeps them, so that either finds
// what the other has downloaded: CACHE/models--ORG--NAME/{refs,blobs,snapshots,trees} and CACHE/.locks. Held to huggingface_hub 2.4
// (file_download.py, _snapshot_download.py, _commit_api.py, lfs.py).
//
// A Hub is not trusted: every body, count and wait is bounded, content must have the hash that was announced, names stay within the cache,
// the token goes to the endpoint alone, and a redirect cannot lead from a public address to a private one. Errors are faults without paths
// and addresses: NotFound for what there is not or may not be seen, Invalid for an answer that breaks the rules, Internal for the rest.
package hub

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/medley-lora/medley/shared/fault"
)

// DefaultEndpoint is where the public Hub is.
const DefaultEndpoint = "https://huggingface.co"

// ErrUnreachable is in the chain of errors that mean no answer came: the network is down, or the Hub is.
var ErrUnreachable = errors.New("unreachable")

// Config says where a Hub is and where its files are kept. Only Cache must be set.
type Config struct {
	Endpoint  string // URL of the Hub; empty for DefaultEndpoint
	Cache     string // folder for the cache, made when it is first written to
	Token     string // empty to be anonymous
	Offline   bool   // never connect
	UserAgent string
	Workers   int                                   // files transferred at once; 0 for 8
	Proxy     func(*http.Request) (*url.URL, error) // as in http.Transport; nil for none
}

// Client talks to one Hub. It is safe for concurrent use, and any number of processes, Python ones too, can share its cache.
type Client struct {
	config   Config
	endpoint *url.URL
	http     *http.Transport // not a client: redirects are ours to follow
	limits   limits
	slots    chan struct{} // one is held by each file under way

	private func(netip.Addr) bool // whether an address is not on the public Internet
	free    func(folder string) (bytes uint64, known bool)
	symlink func(target, path string) error
	inside  bool // the endpoint itself is named by a private address
	proxies sync.Map
}

// limits bound what a server can make us do.
type limits struct {
	attempts  int           // of one request, and of one file without enough progress
	backoff   time.Duration // before the second attempt; doubled each time
	wait      time.Duration // longest wait that a server may ask for
	answer    time.Duration // until the header of an answer
	window    time.Duration // in which a body must bring on pace bytes
	pace      int64
	progress  int64 // bytes that make up for a failed attempt
	json      int64 // bytes of an answer in JSON
	redirects int
	pages     int // of a listing
}

func defaultLimits() limits {
	return limits{
		attempts: 5, backoff: time.Second, wait: time.Minute, answer: 30 * time.Second, window: time.Minute, pace: 64 << 10, progress: 1 << 20,
		json: 32 << 20, redirects: 5, pages: 1000,
	}
}

// New checks a configuration; it does not connect.
func New(config Config) (*Client, error) {
	if config.Endpoint == "" {
		config.Endpoint = DefaultEndpoint
	}
	endpoint, err := url.Parse(strings.TrimRight(config.Endpoint, "/"))
	if err != nil || endpoint.Scheme != "https" && endpoint.Scheme != "http" || endpoint.Host == "" || endpoint.User != nil || endpoint.RawQuery != "" {
		return nil, fault.New(fault.Invalid, "endpoint", "must be the https or http URL of a Hub, such as %s", DefaultEndpoint)
	}
	if config.Cache == "" {
		return nil, fault.New(fault.Invalid, "cache", "no folder is set")
	}
	if strings.ContainsFunc(config.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault.New(fault.Invalid, "token", "holds characters that no token has")
	}
	if config.Workers == 0 {
		config.Workers = 8
	}
	c := &Client{config: config, endpoint: endpoint, limits: defaultLimits(), slots: make(chan struct{}, config.Workers), private: isPrivate, free: freeSpace, symlink: os.Symlink}
	c.inside = namesPrivate(endpoint.Hostname())
	c.http = c.transport()
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// at is the URL of a path below the endpoint, whose parts are escaped already.
func (c *Client) at(path, query string) *url.URL {
	u := *c.endpoint
	u.RawPath = u.EscapedPath() + path
	u.Path, _ = url.PathUnescape(u.RawPath) // every caller escapes
	u.RawQuery = query
	return &u
}
