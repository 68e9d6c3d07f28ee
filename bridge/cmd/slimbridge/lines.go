package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/slimbridge/slimbridge/session"
)

// inputLine is one line of standard input without its end, or why there are no
// more.
type inputLine struct {
	text []byte
	err  error
}

// lines hands out standard input line by line until it ends or ctx does. A read
// that waits for a terminal cannot be called off: its goroutine then stays until
// the program ends.
func (p *program) lines(ctx context.Context) <-chan inputLine {
	out := make(chan inputLine)
	put := func(l inputLine) bool {
		select {
		case out <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(out)
		in := bufio.NewScanner(p.stdin)
		in.Buffer(nil, session.MaxPayload+len("\r\n"))
		for in.Scan() {
			if !put(inputLine{text: bytes.Clone(in.Bytes())}) {
				return
			}
		}
		err := in.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("a line of standard input is longer than %d bytes, the largest SLIM message", session.MaxPayload)
		}
		if err != nil {
			put(inputLine{err: err})
		}
	}()
	return out
}

// speech writes what others say, one line per message. Safe for concurrent use.
type speech struct {
	mu    sync.Mutex
	w     io.Writer
	limit int // of lines, 0 for none
	lines int
}

// errSaidEnough: the limit is reached.
var errSaidEnough = errors.New("all messages asked for were received")

// said writes a message and who said it, unless that was done as often as the
// limit allows. It returns errSaidEnough from the last time on.
func (s *speech) said(m session.Message) (written bool, err error) {
	alone := ""
	if m.Direct {
		alone = " (to us alone)"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 && s.lines >= s.limit {
		return false, errSaidEnough
	}
	s.lines++
	if _, err := fmt.Fprintf(s.w, "%s%s > %s\n", printable([]byte(m.Source.Path())), alone, printable(m.Payload)); err != nil {
		return false, err
	}
	if s.lines == s.limit {
		return true, errSaidEnough
	}
	return true, nil
}

// printable is text on one line, in which nothing steers a terminal: what is
// not printable is written as in Go string literals.
func printable(text []byte) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unicode.IsPrint(r) || r == '\t':
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		text = text[size:]
	}
	return b.String()
}

// receipts waits for the acknowledgements of what was said. A session has at
// most 256 messages under way, so that is the most goroutines it takes.
type receipts struct {
	waiting sync.WaitGroup
	mu      sync.Mutex
	err     error // of the first message that somebody did not acknowledge
}

func (r *receipts) add(ctx context.Context, receipt *session.Receipt, failed func(error)) {
	r.waiting.Go(func() {
		err := receipt.Wait(ctx)
		if err == nil {
			return
		}
		r.mu.Lock()
		first := r.err == nil
		if first {
			r.err = err
		}
		r.mu.Unlock()
		if first && failed != nil {
			failed(err)
		}
	})
}

// wait returns once the fate of every message is known.
func (r *receipts) wait() error {
	r.waiting.Wait()
	return r.err
}
