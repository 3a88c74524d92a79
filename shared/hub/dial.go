package hub

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// errPrivate ends a connection before it begins.
var errPrivate = errors.New("a redirect to a private address")

// notPublic are prefixes that netip has no word for: shared addresses of providers, protocol assignments, benchmarks, reserved ones, and
// those that carry an IPv4 address in an IPv6 one, which a gateway would unpack.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
}

func isPrivate(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if !ip.IsGlobalUnicast() || ip.IsPrivate() { // loopback, link-local, multicast and unspecified are not global unicast
		return true
	}
	for _, p := range notPublic {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// namesPrivate tells whether a host is private by its name alone; what a resolver says is not asked.
func namesPrivate(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && isPrivate(ip)
}

// transport connects to public addresses, and to private ones only as the user's own configuration names them: the endpoint, a proxy, or any
// but link-local ones (where clouds keep credentials) if the endpoint itself is named by a private address. Checked at dial, after names were
// resolved, so that no resolver and no redirect gets around it.
func (c *Client) transport() *http.Transport {
	t := &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConns: 32, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 20 * time.Second,
		ResponseHeaderTimeout: c.limits.answer, MaxResponseHeaderBytes: 1 << 20, DisableCompression: true, // ranges and sizes are of the files' own bytes
	}
	if c.config.Proxy != nil {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			proxy, err := c.config.Proxy(r)
			if proxy != nil {
				c.proxies.Store(hostPort(proxy), true)
			}
			return proxy, err
		}
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: 30 * time.Second, Control: func(_, resolved string, _ syscall.RawConn) error {
			ip, err := netip.ParseAddrPort(resolved)
			if err != nil || !c.mayReach(address, ip.Addr()) {
				return errPrivate
			}
			return nil
		}}
		return d.DialContext(ctx, network, address)
	}
	return t
}

func (c *Client) mayReach(address string, ip netip.Addr) bool {
	if !c.private(ip) || address == hostPort(c.endpoint) {
		return true
	}
	if _, isProxy := c.proxies.Load(address); isProxy {
		return true
	}
	return c.inside && !ip.Unmap().IsLinkLocalUnicast()
}

// hostPort is what a transport dials for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(hostPort(a), hostPort(b))
}
