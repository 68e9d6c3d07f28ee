package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const maxBenchMessages = 10_000_000

func (p *program) benchCommand() *cobra.Command {
	b := &bench{program: p}
	var sizes, mls, reliable string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure round trips and one-way rates through a node",
		Long: `Opens one session per case and measures two things: the round trip of one message
at a time (p50, p99, round trips per second), and the one-way rate with as many
messages under way as the session takes.

Without --to the messages go to an echo app of its own, which has a second link
to the same node over a real socket; the one-way rate is then what arrives there.
Without --node, and if none answers at the default address, it brings a node.

With --to they go to any app that sends back what it gets, which may be built on
the real SLIM. One-way rates are then counted in acknowledgements, while the echoes
come back, and only where messages are acknowledged.`,
		Example: `  slimbridge bench
  slimbridge bench --node http://10.0.0.5:46357 --sizes 256 --mls both -n 5000
  slimbridge bench --to acme/tools/echo -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.parse(sizes, mls, reliable); err != nil {
				return err
			}
			if p.logLevel == "" {
				p.setLog("warn")
			}
			return b.run(cmd.Context())
		},
	}
	b.node.add(cmd, " or \""+embedded+"\" to bring one")
	b.id.add(cmd)
	f := cmd.Flags()
	f.StringVar(&b.toFlag, "to", "", "org/ns/name of an app that echoes (default: one of its own)")
	f.StringVar(&sizes, "sizes", "256,65536", "payload sizes in bytes")
	f.StringVar(&mls, "mls", "both", "on, off or both")
	f.StringVar(&reliable, "reliable", "on", "on (acknowledged and ordered), off or both")
	f.IntVarP(&b.n, "number", "n", 1000, "messages per measurement")
	f.StringVarP(&b.output, "output", "o", "table", "table or json")
	f.DurationVar(&b.timeout, "timeout", 15*time.Second, "limit for one answer")
	complete(cmd, "mls", "on", "off", "both")
	complete(cmd, "reliable", "on", "off", "both")
	complete(cmd, "output", "table", "json")
	return cmd
}

// bench is one run of the command.
type bench struct {
	*program
	node    nodeFlag
	id      identityFlags
	toFlag  string
	n       int
	output  string
	timeout time.Duration

	cases    []benchCase
	to       name.Name // zero: our own echo app
	endpoint string
}

// benchCase is one kind of session and one size.
type benchCase struct {
	size          int
	mls, reliable bool
}

func (c benchCase) String() string {
	mls, reliable := "plain", "unreliable"
	if c.mls {
		mls = "mls"
	}
	if c.reliable {
		reliable = "reliable"
	}
	return fmt.Sprintf("%dB-%s-%s", c.size, mls, reliable)
}

func (c benchCase) options() session.Options {
	o := session.Options{EndWhenLost: true}
	if !c.mls {
		o.Security = session.AllowPlain
	}
	if !c.reliable {
		o.Delivery = session.Unreliable
	}
	return o
}

func (b *bench) parse(sizes, mls, reliable string) (err error) {
	mlsModes, err := onOff("mls", mls)
	if err != nil {
		return err
	}
	reliableModes, err := onOff("reliable", reliable)
	if err != nil {
		return err
	}
	for s := range strings.SplitSeq(sizes, ",") {
		size, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || size < 1 || size > session.MaxPayload {
			return usagef("--sizes %q: want byte counts from 1 to %d, separated by commas", sizes, session.MaxPayload)
		}
		for _, r := range reliableModes {
			for _, m := range mlsModes {
				b.cases = append(b.cases, benchCase{size: size, mls: m, reliable: r})
			}
		}
	}
	if b.n < 1 || b.n > maxBenchMessages {
		return usagef("-n %d: want 1 to %d", b.n, maxBenchMessages)
	}
	if b.timeout <= 0 {
		return usagef("--timeout %v: want more than 0", b.timeout)
	}
	if err := oneOf("output", b.output, "table", "json"); err != nil {
		return err
	}
	if b.toFlag != "" {
		if b.to, err = parseName("--to", b.toFlag); err != nil {
			return err
		}
	}
	if b.node.given() != embedded {
		b.endpoint, err = b.node.url()
	}
	return err
}

// onOff is what a flag of on, off or both stands for, the plain case first.
func onOff(flag, value string) ([]bool, error) {
	switch value {
	case "on":
		return []bool{true}, nil
	case "off":
		return []bool{false}, nil
	case "both":
		return []bool{false, true}, nil
	}
	return nil, oneOf(flag, value, "on", "off", "both")
}

func (b *bench) run(ctx context.Context) error {
	choose := b.id.forConnecting
	if b.to.IsZero() {
		choose = b.id.forBothEnds
	}
	creds, err := choose(ctx, b.program)
	if err != nil {
		return err
	}
	defer creds.close()
	app, stop, err := b.connect(ctx, creds)
	if err != nil {
		return err
	}
	defer stop()
	var sink *echoApp
	target := b.to
	if target.IsZero() {
		if sink, err = startEcho(ctx, b.program, b.endpoint, creds); err != nil {
			return err
		}
		defer sink.close()
		target = sink.app.Name()
	}
	var results []benchResult
	for _, c := range b.cases {
		r, err := b.measure(ctx, app, target, sink, c)
		if err != nil {
			return fmt.Errorf("bench %v: %w", c, err)
		}
		results = append(results, r)
	}
	return writeResults(b.stdout, b.output, results)
}

// connect links to the node of the user, to the default one, or to one that it
// starts.
func (b *bench) connect(ctx context.Context, creds credentials) (app *session.App, stop func(), err error) {
	const self = "local/bench/client"
	if b.endpoint != "" {
		app, err = b.dialApp(ctx, name.MustParse(self), b.endpoint, creds)
		switch {
		case err == nil:
			return app, func() { _ = app.Close() }, nil
		case b.node.given() != "" || !b.to.IsZero() || !errors.Is(err, syscall.ECONNREFUSED):
			return nil, nil, err
		}
	}
	n, err := b.startNode(ctx, slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "127.0.0.1:0"}}})
	if err != nil {
		return nil, nil, err
	}
	why := "no node at " + cmp.Or(b.endpoint, session.DefaultNode) + ": "
	if b.node.given() == embedded {
		why = ""
	}
	b.endpoint = n.Endpoints()[0]
	fmt.Fprintf(b.stderr, "slimbridge: %susing a node of its own at %s\n", why, b.endpoint)
	app, err = b.dialApp(ctx, name.MustParse(self), b.endpoint, creds)
	if err != nil {
		_ = n.Close()
		return nil, nil, err
	}
	return app, func() { _ = app.Close(); _ = n.Close() }, nil
}
