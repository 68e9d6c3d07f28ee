package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/nodeconfig"
)

// defaultListen is where everything expects a node.
const defaultListen = "127.0.0.1:46357"

func (p *program) nodeCommand() *cobra.Command {
	var listen []string
	var file string
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Run a SLIM node",
		Long: `Runs a node: the place where apps meet. It forwards messages by name and can
read neither payloads nor secrets, so it needs none. Every header must carry the
MAC of its link; apps built on SLIM 2.2 and 3.x do that by themselves.

Without flags it listens for this machine only. --config takes the YAML file of
the real SLIM node instead; what this node cannot do is an error that names the
line. SIGTERM and SIGINT hand out what is queued, then end the node.`,
		Example: `  slimbridge node
  slimbridge node --listen 0.0.0.0:46357 --listen ws://0.0.0.0:46358/
  slimbridge node --config node.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("listen") && cmd.Flags().Changed("config") {
				return usagef("--listen and --config are both given: write the addresses in the file")
			}
			cfg, set, err := p.nodeConfig(listen, file)
			if err != nil {
				return err
			}
			return p.runNode(cmd.Context(), cfg, set.DrainTimeout)
		},
	}
	cmd.Flags().StringArrayVar(&listen, "listen", []string{defaultListen}, "host:port for gRPC or ws://host:port/path for WebSocket; repeatable, port 0 takes a free one")
	cmd.Flags().StringVar(&file, "config", "", "configuration file in the form of the real SLIM node")
	if err := cmd.MarkFlagFilename("config", "yaml", "yml"); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
	return cmd
}

// nodeConfig reads the file, if there is one, else the addresses.
func (p *program) nodeConfig(listen []string, file string) (slimnode.Config, nodeconfig.Settings, error) {
	if file == "" {
		cfg := slimnode.Config{}
		for _, l := range listen {
			cfg.Listeners = append(cfg.Listeners, slimnode.Listener{Endpoint: l})
		}
		if err := cfg.Validate(); err != nil {
			return cfg, nodeconfig.Settings{}, usagef("--listen: %w", err)
		}
		return cfg, nodeconfig.Settings{DrainTimeout: nodeconfig.DefaultDrainTimeout}, nil
	}
	cfg, set, err := nodeconfig.Load(file)
	if err != nil {
		return cfg, set, err
	}
	if p.logLevel == "" {
		p.setLog(set.LogLevel)
	}
	for _, w := range set.Warnings {
		p.log.Warn().Str("file", file).Msg(w)
	}
	return cfg, set, nil
}

// runNode runs a node until ctx ends, then drains it.
func (p *program) runNode(ctx context.Context, cfg slimnode.Config, drain time.Duration) error {
	n, err := p.startNode(ctx, cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w; choose another address with --listen, or in --config", err)
	}
	if err != nil {
		return err
	}
	at := "listening at " + strings.Join(n.Endpoints(), " and ")
	if len(n.Endpoints()) == 0 {
		at = "running without a listener"
	}
	fmt.Fprintf(p.stderr, "slimbridge: SLIM node %s\n", at)
	<-ctx.Done()
	limit, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), drain,
		fmt.Errorf("node: not everything could be handed out within %v", drain))
	defer cancel()
	return n.Drain(limit)
}

// startNode returns a node that listens.
func (p *program) startNode(ctx context.Context, cfg slimnode.Config) (*slimnode.Node, error) {
	cfg.Version = thisVersion()
	cfg.Logger = p.log.With().Str("part", "node").Logger()
	n, err := slimnode.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := n.Start(ctx); err != nil {
		_ = n.Close()
		return nil, err
	}
	return n, nil
}
