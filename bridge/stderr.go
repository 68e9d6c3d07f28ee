package bridge

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// maxLogLine bounds a line of a child's standard error in the log, in bytes. The
// rest of a longer line is dropped.
const maxLogLine = 4096

// stderrLog drains a child's standard error: a full pipe would block the child.
type stderrLog struct {
	r    *os.File
	done chan struct{} // closed at the end of input

	mu   sync.Mutex
	line string // the last one that is not blank
}

func newStderrLog(r *os.File, log zerolog.Logger) *stderrLog {
	s := &stderrLog{r: r, done: make(chan struct{})}
	go s.drain(log) // close waits
	return s
}

func (s *stderrLog) drain(log zerolog.Logger) {
	defer close(s.done)
	in := bufio.NewReaderSize(s.r, maxLogLine)
	for {
		part, err := in.ReadSlice('\n')
		if line := strings.ToValidUTF8(string(bytes.TrimSpace(part)), "?"); line != "" {
			s.mu.Lock()
			s.line = line
			s.mu.Unlock()
			log.Info().Str("stderr", line).Msg("MCP server")
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err != nil {
			return
		}
	}
}

func (s *stderrLog) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.line
}

func (s *stderrLog) close() {
	_ = s.r.Close() // unblocks drain
	<-s.done
}
