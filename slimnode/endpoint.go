package slimnode

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// listenAt is a parsed listener endpoint.
type listenAt struct {
	addr string // host:port
	path string // of the WebSocket; "" is gRPC
}

func parseListener(endpoint string) (listenAt, error) {
	scheme, rest, hasScheme := strings.Cut(endpoint, "://")
	if !hasScheme {
		return listenAt{addr: endpoint}, checkHostPort(endpoint, endpoint)
	}
	switch scheme {
	case "ws":
		u, err := url.Parse(endpoint)
		if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return listenAt{}, fmt.Errorf("endpoint %q: want ws://host:port/path", endpoint)
		}
		path := u.Path
		if path == "" {
			path = "/"
		}
		return listenAt{addr: u.Host, path: path}, checkHostPort(endpoint, u.Host)
	case "http":
		return listenAt{}, fmt.Errorf("endpoint %q: a listener is written without scheme: %q", endpoint, rest)
	case "https", "wss":
		return listenAt{}, fmt.Errorf("endpoint %q: this version listens without TLS only; put a TLS proxy in front", endpoint)
	}
	return listenAt{}, fmt.Errorf("endpoint %q: scheme %q is not supported; use host:port (gRPC) or ws://host:port/path", endpoint, scheme)
}

func checkClient(endpoint string) error {
	scheme, _, hasScheme := strings.Cut(endpoint, "://")
	if !hasScheme {
		return fmt.Errorf("endpoint %q: a client needs a scheme, such as http://%s", endpoint, endpoint)
	}
	if scheme != "http" && scheme != "ws" {
		return fmt.Errorf("endpoint %q: scheme %q is not supported; use http://host:port (gRPC) or ws://host:port/path", endpoint, scheme)
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("endpoint %q: want %s://host:port", endpoint, scheme)
	}
	if scheme == "http" && strings.TrimSuffix(u.Path, "/") != "" {
		return fmt.Errorf("endpoint %q: a gRPC endpoint has no path", endpoint)
	}
	return checkHostPort(endpoint, u.Host)
}

func checkHostPort(endpoint, hostport string) error {
	if strings.TrimSpace(endpoint) != endpoint {
		return fmt.Errorf("endpoint %q: white space or a line break around it", endpoint)
	}
	_, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return fmt.Errorf("endpoint %q: want host:port, such as 127.0.0.1:%d", endpoint, DefaultPort)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("endpoint %q: port %q is not a number from 0 to 65535", endpoint, port)
	}
	return nil
}

// url is how a client on this machine dials the listener.
func (b bound) url() string {
	host, port, err := net.SplitHostPort(b.Addr().String())
	if err != nil {
		return b.Addr().String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1" // a wildcard of IPv6 takes IPv4 too
	}
	scheme := "http"
	if b.path != "" {
		scheme = "ws"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + b.path
}
