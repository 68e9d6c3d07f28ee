package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/slimbridge/slimbridge/adapters/mcp"
	"github.com/slimbridge/slimbridge/slimnode"
)

// maxTapped bounds what the wiretap keeps; the oldest frame goes first.
const maxTapped = 64

// wiretap keeps the frames that a node forwards, as a curious operator could.
// It is safe for concurrent use.
type wiretap struct {
	mu     sync.Mutex
	frames []tapped
}

type tapped struct {
	from, to slimnode.ConnID
	bytes    []byte
}

// attach sets the tap of a node. The frame type is inferred: this program sees
// bytes, the format of messages is not its business.
func attach[F interface{ Segments() [][]byte }](w *wiretap, tap *func(from, to slimnode.ConnID, f F) []F) {
	*tap = func(from, to slimnode.ConnID, f F) []F {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.frames) == maxTapped {
			w.frames = slices.Delete(w.frames, 0, 1)
		}
		w.frames = append(w.frames, tapped{from, to, bytes.Join(f.Segments(), nil)})
		return nil // pass it on
	}
}

func (w *wiretap) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = nil
}

// answer returns the frame that answered the first encrypted message since
// forget. It is an error if any of the forwarded frames has one of the plain
// texts in it.
func (w *wiretap) answer(plain ...string) (seen, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var client slimnode.ConnID
	var found seen
	for _, f := range w.frames {
		for _, p := range plain {
			if bytes.Contains(f.bytes, []byte(p)) {
				return seen{}, fmt.Errorf("demo: the node forwarded %q in clear", p)
			}
		}
		s, ok := readPrivateMessage(f.bytes)
		switch {
		case !ok:
		case client == 0:
			client = f.from
		case f.to == client && found.size == 0:
			found = s
		}
	}
	if found.size == 0 {
		return seen{}, errors.New("demo: the node forwarded no encrypted answer")
	}
	return found, nil
}

// seen is what a node can tell of an encrypted message.
type seen struct {
	size       int      // of the whole frame
	names      []string // parts of names that are readable in it
	epoch      uint64
	ciphertext []byte
}

// readPrivateMessage finds the MLS message in a frame and reads what is not
// encrypted in it (RFC 9420, sections 6 and 6.3): version mls10, wire format
// mls_private_message, group_id, epoch, content_type, authenticated_data,
// encrypted_sender_data, ciphertext.
func readPrivateMessage(frame []byte) (seen, bool) {
	_, rest, ok := bytes.Cut(frame, []byte{0, 1, 0, 2})
	if !ok {
		return seen{}, false
	}
	_, rest, ok = vector(rest)
	if !ok || len(rest) < 9 {
		return seen{}, false
	}
	s := seen{size: len(frame), epoch: binary.BigEndian.Uint64(rest)}
	for part := range strings.SplitSeq(demoServer+"/"+demoClient, "/") {
		if bytes.Contains(frame, []byte(part)) && !slices.Contains(s.names, part) {
			s.names = append(s.names, part)
		}
	}
	rest = rest[9:]
	for range 3 { // the last one is the ciphertext
		if s.ciphertext, rest, ok = vector(rest); !ok {
			return seen{}, false
		}
	}
	return s, len(s.ciphertext) > 0
}

// vector reads an opaque<V>: its length is a variable-size integer whose first
// two bits tell how long it is (RFC 9420, section 2.1.2).
func vector(b []byte) (content, rest []byte, ok bool) {
	if len(b) == 0 || b[0]>>6 == 3 {
		return nil, nil, false
	}
	size := 1 << (b[0] >> 6)
	if len(b) < size {
		return nil, nil, false
	}
	n := int(b[0] & 0x3f)
	for _, c := range b[1:size] {
		n = n<<8 | int(c)
	}
	if b = b[size:]; len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// recorder remembers the last message that its reader got.
type recorder struct {
	mcp.Conn
	mu   sync.Mutex
	read []byte
}

// ReadFrame implements [mcp.Conn].
func (r *recorder) ReadFrame(ctx context.Context) ([]byte, error) {
	b, err := r.Conn.ReadFrame(ctx)
	if err == nil {
		r.mu.Lock()
		r.read = bytes.Clone(b)
		r.mu.Unlock()
	}
	return b, err
}

func (r *recorder) last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}
