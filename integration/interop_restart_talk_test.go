package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/slimbridge/slimbridge/session"
	"github.com/slimbridge/slimbridge/slimnode/name"
)

const (
	// talkWindow is how far one direction may be ahead of the other, so that a
	// kill hits both.
	talkWindow = 32
	// confirmTogether is how many messages are noted before they are confirmed.
	confirmTogether = 3

	// Retransmission of the sessions in these tests: a run may take 15 s to start.
	talkRetries  = 30
	talkInterval = 500 * time.Millisecond
)

// talk holds up one end of a session: it notes and confirms what it gets, and
// publishes numbered messages of its own. It goes on after the last number that
// is noted as published, and ends when the peer closes.
func talk(app *session.App, dir string, run int, o *orders) error {
	go func() { // a run must not outlive its parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	s, resumed, err := theSession(app, o)
	if err != nil {
		return err
	}
	t := &talking{Session: s, run: run, count: o.Count, pace: make(chan struct{}, o.Count+talkWindow)}
	state := map[bool]string{false: "new", true: "resumed"}[resumed]
	for file, j := range map[string]*journal{receivedFile: &t.received, publishedFile: &t.published} {
		path := filepath.Join(dir, file)
		runs, err := readJournal(path)
		if err != nil {
			return err
		}
		t.got, t.sent = max(t.got, lastOf(runs, gotOf)), max(t.sent, lastOf(runs, publishedOf))
		if *j, err = openJournal(path); err != nil {
			return err
		}
		if err := j.note("run %d session %d %s", run, s.ID(), state); err != nil {
			return err
		}
	}
	for range t.got + talkWindow {
		t.pace <- struct{}{}
	}
	failed := make(chan error, 2)
	go func() { failed <- t.publish() }()
	go func() { failed <- t.receive() }()
	return errors.Join(<-failed, <-failed)
}

// theSession is the one that earlier runs had, or a new one.
func theSession(app *session.App, o *orders) (s *session.Session, resumed bool, err error) {
	if list, _ := app.Resumed(); len(list) > 0 {
		if len(list) > 1 {
			return nil, false, fmt.Errorf("%d sessions were resumed", len(list))
		}
		return list[0], true, nil
	}
	ctx, cancel := bounded()
	defer cancel()
	if o.Peer != "" {
		s, err = app.Open(ctx, name.MustParse(o.Peer), session.Options{MaxRetries: talkRetries, Interval: talkInterval})
		return s, false, err
	}
	l, err := app.Listen(session.ListenOptions{})
	if err != nil {
		return nil, false, err
	}
	fmt.Println(listening)
	s, err = l.Accept(ctx)
	return s, false, err
}

// listening is said on standard output.
const listening = "listening"

type talking struct {
	*session.Session
	run, count, got, sent int
	received, published   journal
	pace                  chan struct{} // a token for each message that may be published
}

// receive notes messages and confirms them, some at a time.
func (t *talking) receive() error {
	var open []session.Message
	first := 0 // number of open[0]
	for {
		m, err := t.Receive(context.Background())
		if errors.Is(err, &session.Error{Code: session.CodeClosedByPeer}) {
			return nil
		}
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscanf(string(m.Payload), confidential+" %d", &n); err != nil {
			return fmt.Errorf("message that is none of the test's: %w", err)
		}
		if err := t.received.note("got %d", n); err != nil {
			return err
		}
		if n > t.got {
			t.got = n
			t.pace <- struct{}{}
		}
		if len(open) == 0 {
			first = n
		}
		if open = append(open, m); len(open) < confirmTogether && n < t.count {
			continue
		}
		for i, m := range open {
			if err := t.Confirm(m); err != nil {
				return err
			}
			if err := t.received.note("confirmed %d", first+i); err != nil {
				return err
			}
		}
		open = nil
	}
}

// publish sends numbers that no run is known to have sent, marked with the run.
func (t *talking) publish() error {
	for range t.sent {
		<-t.pace
	}
	for n := t.sent + 1; n <= t.count; n++ {
		<-t.pace
		text := fmt.Sprintf("%s %d %d", confidential, n, t.run)
		if _, err := t.Publish(context.Background(), session.Message{Payload: []byte(text)}); err != nil {
			return err
		}
		if err := t.published.note("published %d", n); err != nil {
			return err
		}
	}
	return nil
}
