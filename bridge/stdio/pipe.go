package stdio

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// DefaultMaxLine is the longest line in bytes that is passed on.
const DefaultMaxLine = 3_600_000

// Options of a [Pipe].
type Options struct {
	// MaxLine bounds a line, or an assembled value, in bytes. Default
	// [DefaultMaxLine].
	MaxLine int
	// Assemble accepts JSON objects and arrays that span lines, and skips
	// everything that is neither.
	Assemble bool
	// Skipped is told each skipped line, cut to 200 bytes. It runs on the reading
	// goroutine and must not block. May be nil.
	Skipped func(line []byte)
}

// TooLongError stands for one message above MaxLine. Reading can go on.
type TooLongError struct {
	Size   int    // bytes seen
	Limit  int    // bytes allowed
	ID     []byte // raw id of the message, nil if none was found
	Method bool   // the message has a method: it is no response
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("message of %d bytes exceeds the SLIM limit of %d bytes", e.Size, e.Limit)
}

// Pipe is a frame pipe over two byte streams.
type Pipe struct {
	r       io.Reader
	w       io.Writer
	frames  chan result
	closed  chan struct{}
	once    sync.Once
	reading sync.WaitGroup

	mu sync.Mutex // serialises writes to w
}

type result struct {
	frame []byte
	err   error
}

// New starts reading r. Both streams are closed by Close if they can be.
func New(r io.Reader, w io.Writer, o Options) *Pipe {
	if o.MaxLine == 0 {
		o.MaxLine = DefaultMaxLine
	}
	p := &Pipe{r: r, w: w, frames: make(chan result), closed: make(chan struct{})}
	p.reading.Go(func() { p.read(o) })
	return p
}

// ReadFrame returns the next non-empty line without its line end, io.EOF at the
// end of input and after Close, a [*TooLongError], or ctx.Err(). The caller owns
// the frame.
func (p *Pipe) ReadFrame(ctx context.Context) ([]byte, error) {
	select {
	case r, ok := <-p.frames:
		if !ok {
			return nil, io.EOF
		}
		return r.frame, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, io.EOF
	}
}

// WriteFrame writes msg as one line. Messages with line breaks inside are
// compacted first, all others go out byte for byte. It blocks while the other
// side does not read; only Close interrupts that.
func (p *Pipe) WriteFrame(ctx context.Context, msg []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	line := make([]byte, 0, len(msg)+1)
	if bytes.ContainsAny(msg, "\r\n") {
		b := bytes.NewBuffer(line)
		if err := json.Compact(b, msg); err != nil {
			return fmt.Errorf("write line: %w", err)
		}
		line = b.Bytes()
	} else {
		line = append(line, msg...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return os.ErrClosed
	default:
	}
	_, err := p.w.Write(append(line, '\n'))
	return err
}

// Close closes both streams and waits for the reader. Standard input cannot be
// interrupted, so its reader is left to end with the process.
func (p *Pipe) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		if c, ok := p.w.(io.Closer); ok {
			err = c.Close()
		}
		if c, ok := p.r.(io.Closer); ok && p.r != io.Reader(os.Stdin) {
			err = errors.Join(err, c.Close())
			p.reading.Wait()
		}
	})
	return err
}

// read feeds ReadFrame until the input ends. The unbuffered channel is the
// back-pressure: nothing is read ahead of the consumer but one frame.
func (p *Pipe) read(o Options) {
	defer close(p.frames)
	lines := &lineReader{r: bufio.NewReaderSize(p.r, 64<<10), max: o.MaxLine}
	next := lines.next
	if o.Assemble {
		next = (&assembler{lines: lines, skipped: o.Skipped, max: o.MaxLine}).next
	}
	for {
		frame, err := next()
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
			return
		}
		select {
		case p.frames <- result{frame, err}:
		case <-p.closed:
			return
		}
		if tooLong := (*TooLongError)(nil); err != nil && !errors.As(err, &tooLong) {
			return
		}
	}
}
