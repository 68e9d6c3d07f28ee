package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineReader reads lines of any length and keeps those up to max bytes.
type lineReader struct {
	r   *bufio.Reader
	max int
}

// next returns the next line that is not blank, without white space around it.
// A last line without line end counts.
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.line()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (l *lineReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(bytes.TrimRight(part, "\r\n")) > l.max {
			return nil, l.discard(line, part, err)
		}
		line = append(line, part...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// discard reads the rest of an overlong line, looking only for its id.
func (l *lineReader) discard(head, part []byte, err error) error {
	s := skimmer{}
	s.write(head)
	s.write(bytes.TrimRight(part, "\r\n"))
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = l.r.ReadSlice('\n')
		s.write(bytes.TrimRight(part, "\r\n"))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return s.tooLong(l.max)
}
