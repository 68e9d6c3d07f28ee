package realslim

import (
	"net"
	"strings"
	"testing"
)

// NodeOptions configures a genuine node. The zero value is a lax gRPC node on a free port of 127.0.0.1.
type NodeOptions struct {
	Addr      string // "127.0.0.1:port"; default a free port. To start a node again where one was
	WebSocket bool   // carrier WebSocket instead of gRPC
	Strict    bool   // started from a configuration file: links must have a header MAC
	PQC       bool   // enforce_pqc: refuses links without the hybrid key; implies Strict
	NodeID    string // default random
	Dial      []Link // links that the node opens at its start; needs Strict or PQC
	LogLevel  string // default "warn"
}

// Link is a connection that a node dials.
type Link struct {
	Endpoint string `json:"endpoint"` // "http://127.0.0.1:port" or "ws://127.0.0.1:port"
	Type     string `json:"type"`     // "edge", "peer" or "remote"
}

// Node is a running genuine node.
type Node struct {
	*process
	Endpoint string // what clients dial: "http://127.0.0.1:port" or "ws://127.0.0.1:port"
	Addr     string // "127.0.0.1:port"
}

// StartNode starts a node that listens when the call returns. It fails the test if that takes longer than 30 s.
func (p Peers) StartNode(t testing.TB, k Kind, o NodeOptions) *Node {
	t.Helper()
	// A free port may be taken between the question and its use; a caller's port is not replaced.
	for tries := 3; ; tries-- {
		n, err := p.startNode(t, k, o)
		if err == nil {
			return n
		}
		if o.Addr != "" || tries == 1 || !strings.Contains(err.Error(), "in use") {
			t.Fatal(err)
		}
	}
}

func (p Peers) startNode(t testing.TB, k Kind, o NodeOptions) (*Node, error) {
	addr := o.Addr
	if addr == "" {
		var err error
		if addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	listen, dial := addr, "http://"+addr
	if o.WebSocket {
		listen, dial = "ws://"+addr, "ws://"+addr
	}
	options := map[string]any{
		"endpoint": listen, "strict": o.Strict, "pqc": o.PQC, "dial": o.Dial, "log_level": orDefault(o.LogLevel, "warn"),
	}
	if o.NodeID != "" {
		options["node_id"] = o.NodeID
	}
	c, _, err := p.start(t, launch{kind: k, role: "node", options: options, onEvent: func(message) {}})
	if err != nil {
		return nil, err
	}
	return &Node{process: c, Endpoint: dial, Addr: addr}, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Name is a SLIM name as the genuine library shows it.
type Name struct {
	Path string `json:"name"` // "organisation/namespace/app"
	ID   string `json:"id"`   // the 128-bit id in the form of a UUID; empty if the name has none
}
