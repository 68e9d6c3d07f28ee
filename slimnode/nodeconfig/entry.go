package nodeconfig

import (
	"net/netip"
	"strings"
	"time"

	"github.com/slimbridge/slimbridge/slimnode"
)

// server reads an entry of dataplane.servers.
func (d *decoder) server(v value) {
	var l slimnode.Listener
	e := &entry{d: d, v: follow(v)}
	limit := d.noEffect("this node has its own limits")
	timeout := func(v value) { e.timeout(v, &l.NegotiationTimeout) }
	d.mapping(v, fields{
		"endpoint":                   e.readEndpoint(&l.Endpoint),
		"tls":                        e.tls,
		"auth":                       e.auth,
		"require_header_mac":         e.mac(&l.AllowNoMAC),
		"negotiation_timeout_secs":   timeout,
		"link_hmac_timeout_secs":     timeout,
		"link_hmac_poll_interval_ms": d.unusedNumber,
		"http2_only":                 d.unusedBool, // not consulted upstream either
		"max_frame_size":             limit,
		"max_concurrent_streams":     limit,
		"max_header_list_size":       limit,
		"read_buffer_size":           limit,
		"write_buffer_size":          limit,
		"keepalive":                  d.noEffect("this node pings every 120 s and waits 20 s"),
		"metadata":                   ignore,
	})
	if !e.finish("0.0.0.0:46357") {
		return
	}
	if err := (slimnode.Config{Listeners: []slimnode.Listener{l}}).Validate(); err != nil {
		d.fail(e.endpoint, "%s: want an IP address and a port, such as 0.0.0.0:46357, or ws://address:port/path; TLS and unix sockets are not supported", d.show(e.endpoint))
		return
	}
	if _, err := netip.ParseAddrPort(l.Endpoint); err != nil && !strings.HasPrefix(l.Endpoint, "ws://") {
		d.fail(e.endpoint, "%s: want an IP address, not a host name, such as 0.0.0.0:46357", d.show(e.endpoint))
		return
	}
	d.cfg.Listeners = append(d.cfg.Listeners, l)
}

// client reads an entry of dataplane.clients.
func (d *decoder) client(v value) {
	var c slimnode.Client
	e := &entry{d: d, v: follow(v)}
	d.mapping(v, fields{
		"endpoint":           e.readEndpoint(&c.Endpoint),
		"tls":                e.tls,
		"auth":               e.auth,
		"require_header_mac": e.mac(&c.AllowNoMAC),
		"link_id": optional(func(v value) {
			if s, ok := d.text(v); ok {
				c.LinkID = s
			}
		}),
		"connection_type": func(v value) {
			if s, ok := d.text(v); ok && s != "edge" {
				d.fail(v, "%s: only edge links are supported; remove the key or write edge", d.show(v))
			}
		},
		"origin":          optional(d.refuse("an authority override is not supported; remove it")),
		"server_name":     optional(d.refuse("it is for TLS, which is not supported; remove it")),
		"rate_limit":      optional(d.refuse("rate limits are not supported; remove it")),
		"proxy":           d.mustBeEmpty("a proxy is not supported; remove it"),
		"headers":         d.mustBeEmpty("extra headers are not supported; remove them"),
		"request_timeout": e.zeroDuration("it would end the link after that time; remove it"),
		"connect_timeout": d.noEffect("this node has its own limit and tries again"),
		"backoff":         d.noEffect("this node waits 0.1 s, doubling up to 5 s, without limit"),
		"keepalive":       d.noEffect("this node has its own keepalive"),
		"compression":     d.noEffect("not implemented upstream either"),
		"buffer_size":     d.noEffect("this node has its own buffers"),
		"metadata":        ignore,
	})
	if !e.finish("http://127.0.0.1:46357") {
		return
	}
	if err := (slimnode.Config{Clients: []slimnode.Client{c}}).Validate(); err != nil {
		d.fail(e.endpoint, "%s: want http://host:port or ws://host:port/path; TLS and unix sockets are not supported", d.show(e.endpoint))
		return
	}
	d.cfg.Clients = append(d.cfg.Clients, c)
}

// entry is the common part of a server and a client while it is read.
type entry struct {
	d        *decoder
	v        value
	endpoint value // zero until seen
	bad      bool  // the endpoint is no text; reported
	insecure bool
	tlsSeen  value
	timeouts int
}

func (e *entry) readEndpoint(into *string) func(value) {
	return func(v value) {
		e.endpoint = v
		s, ok := e.d.text(v)
		*into, e.bad = s, !ok
	}
}

func (e *entry) mac(allowNone *bool) func(value) {
	return func(v value) {
		if require, ok := e.d.boolean(v); ok {
			*allowNone = !require
		}
	}
}

func (e *entry) timeout(v value, into *time.Duration) {
	if e.timeouts++; e.timeouts > 1 {
		e.d.fail(v, "negotiation_timeout_secs and its old name link_hmac_timeout_secs are both given; keep the first")
		return
	}
	n, ok := e.d.number(v, 3600)
	switch {
	case ok && n == 0:
		e.d.fail(v, "0 would refuse every link; want at least 1")
	case ok:
		*into = time.Duration(n) * time.Second
	}
}

func (e *entry) zeroDuration(why string) func(value) {
	return optional(func(v value) {
		if dur, ok := e.d.duration(v); ok && dur != 0 {
			e.d.fail(v, "%s", why)
		}
	})
}

func (e *entry) auth(v value) {
	if !isEmpty(v) && !isTypeNone(v) {
		e.d.fail(v, "authentication of connections is not supported by this version; remove it or write {type: none}")
	}
}

// isTypeNone recognises {type: none}, upstream's way to write an absent block.
func isTypeNone(v value) bool {
	c := follow(v).Content
	return len(c) == 2 && c[0].Value == "type" && c[1].Value == "none"
}

func (e *entry) tls(v value) {
	e.tlsSeen = v
	certificate := e.d.refuse("TLS is not supported by this version; remove it and set insecure: true, with a TLS proxy in front where links leave the machine")
	none := func(v value) {
		if !isTypeNone(v) {
			optional(certificate)(v)
		}
	}
	known := fields{
		"insecure": func(v value) {
			e.insecure, _ = e.d.boolean(v)
		},
		"insecure_skip_verify":         e.d.unusedBool,
		"include_system_ca_certs_pool": e.d.unusedBool,
		"tls_version":                  e.d.oneOf("tls1.2", "tls1.3"),
		"source":                       none,
		"ca_source":                    none,
		"client_ca":                    none,
		"reload_interval":              optional(certificate),
		"reload_client_ca_file":        e.d.unusedBool,
	}
	for _, old := range []string{"ca_file", "ca_pem", "cert_file", "key_file", "cert_pem", "key_pem", "client_ca_file"} {
		known[old] = certificate
	}
	e.d.mapping(v, known)
}

// finish checks what only the whole entry tells, and whether the endpoint can
// be looked at.
func (e *entry) finish(example string) bool {
	d := e.d
	switch {
	case e.endpoint.Node == nil:
		d.fail(e.v, "endpoint is missing, such as %q", example)
		return false
	case !e.insecure && e.tlsSeen.Node == nil:
		d.fail(e.v, "without a tls block SLIM uses TLS, which is not supported by this version; add tls: {insecure: true}")
	case !e.insecure:
		d.fail(e.tlsSeen, "TLS is not supported by this version; set insecure: true")
	}
	return !e.bad
}
