package main

import (
	"cmp"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	envNode       = "SLIM_NODE"
	envSecret     = "SLIM_SHARED_SECRET"
	envSecretFile = "SLIM_SHARED_SECRET_FILE"

	// embedded instead of a URL hosts the node in this process.
	embedded = "embedded"
)

// nodeFlag is where the node is.
type nodeFlag struct{ flag string }

func (n *nodeFlag) add(cmd *cobra.Command, more string) {
	cmd.Flags().StringVar(&n.flag, "node", "", "SLIM node, http(s)://host:port or ws(s)://host:port/path"+more+" (default $"+envNode+" or "+session.DefaultNode+")")
}

// given is what the user said, or "".
func (n *nodeFlag) given() string { return cmp.Or(n.flag, os.Getenv(envNode)) }

// url returns the checked endpoint.
func (n *nodeFlag) url() (string, error) {
	if n.flag != "" {
		return checkNode("--node", n.flag)
	}
	return checkNode(envNode, cmp.Or(os.Getenv(envNode), session.DefaultNode))
}

func checkNode(source, s string) (string, error) {
	u, err := url.Parse(s)
	example := "such as " + session.DefaultNode
	switch {
	case err != nil || !strings.Contains(s, "://"):
		return "", usagef("%s %q is no URL: want http://, https://, ws:// or wss://, %s", source, s, example)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "ws" && u.Scheme != "wss":
		return "", usagef("%s %q: scheme %q is not supported: want http, https, ws or wss, %s", source, s, u.Scheme, example)
	case u.Hostname() == "":
		return "", usagef("%s %q has no host, %s", source, s, example)
	case u.User != nil:
		return "", usagef("%s: a node takes no user name or password in its URL", source)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "", usagef("%s %q: port %s is not in 1 to 65535", source, s, p)
		}
	}
	return s, nil
}

// parseName reads a name of the command line.
func parseName(what, s string) (name.Name, error) {
	n, err := name.Parse(s)
	if err != nil {
		return name.Name{}, usagef("%s: %w, such as acme/tools/files", what, err)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r == ':' || r <= ' ' }) {
		return name.Name{}, usagef("%s: name %q: white space and \":\" are not allowed", what, s)
	}
	return n, nil
}

// mlsFlag is --mls on|off.
type mlsFlag struct{ value string }

func (m *mlsFlag) add(cmd *cobra.Command, meaning string) {
	cmd.Flags().StringVar(&m.value, "mls", "on", meaning)
	complete(cmd, "mls", "on", "off")
}

func (m *mlsFlag) security() (session.Security, error) {
	if err := oneOf("mls", m.value, "on", "off"); err != nil {
		return 0, err
	}
	if m.value == "off" {
		return session.AllowPlain, nil
	}
	return session.RequireMLS, nil
}
