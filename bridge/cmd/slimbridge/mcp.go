package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/bridge"
)

func (p *program) mcpCommand() *cobra.Command {
	cmd := p.group("mcp", "Serve and use MCP servers by SLIM name", `Puts existing MCP programs on SLIM without changing them. "serve" runs beside the
server, "connect" is what the MCP host starts; they meet at a node by name and
trust each other by a shared secret, JWTs or SPIFFE, and everything between them is
encrypted end to end.`)
	cmd.AddCommand(p.mcpServeCommand(), p.mcpConnectCommand())
	return cmd
}

// timeoutFlag is how long a request may go unanswered.
type timeoutFlag struct{ value time.Duration }

func (t *timeoutFlag) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&t.value, "timeout", bridge.DefaultTimeout, "limit for a request without answer or progress, at most 10m, 0 for none; each end applies its own")
}

// bridge returns the value in the terms of package bridge.
func (t *timeoutFlag) bridge() (time.Duration, error) {
	switch {
	case t.value < 0:
		return 0, usagef("--timeout %v is negative: want 60s, 5m, or 0 for none", t.value)
	case t.value > bridge.MaxTimeout:
		return 0, usagef("--timeout %v is too long: at most %v, or 0 for none", t.value, bridge.MaxTimeout)
	case t.value == 0:
		return bridge.NoTimeout, nil
	}
	return t.value, nil
}
