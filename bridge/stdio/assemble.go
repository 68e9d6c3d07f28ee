package stdio

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// maxReported bounds what Skipped gets of a line.
const maxReported = 200

// assembler joins the lines of one JSON value and drops what is no JSON.
type assembler struct {
	lines   *lineReader
	skipped func([]byte)
	max     int
	held    []byte // a complete frame found while another was given up
}

func (a *assembler) next() ([]byte, error) {
	if frame := a.held; frame != nil {
		a.held = nil
		return frame, nil
	}
	for {
		line, err := a.lines.next()
		if err != nil {
			return nil, err
		}
		switch {
		case line[0] != '{' && line[0] != '[':
			a.skip(line)
		case json.Valid(line):
			return line, nil
		case !isPrefix(line):
			a.skip(line)
		default:
			if frame, err := a.join(line); frame != nil || err != nil {
				return frame, err
			}
		}
	}
}

// join reads on until the value that begins with line is complete. It returns
// nothing if the value turned out to be broken.
func (a *assembler) join(line []byte) ([]byte, error) {
	value := append([]byte(nil), line...)
	var d depth
	d.add(line)
	for d.open() {
		line, err := a.lines.next()
		if err != nil {
			a.skip(value)
			return nil, err
		}
		if isMessage(line) { // the value before it was never finished
			a.skip(value)
			return line, nil
		}
		if len(value)+len(line) >= a.max {
			return nil, a.discard(value, line, &d)
		}
		value = append(append(value, '\n'), line...)
		d.add(line)
	}
	if !json.Valid(value) {
		a.skip(value)
		return nil, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, value); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// discard reads the rest of an overlong value. A complete message in between
// ends it and is the next frame.
func (a *assembler) discard(value, line []byte, d *depth) error {
	s := skimmer{}
	s.write(value)
	for {
		s.write(line)
		if d.add(line); !d.open() {
			break
		}
		next, err := a.lines.next()
		if err != nil {
			break // the end of input shows again at the next read
		}
		if isMessage(next) {
			a.held = next
			break
		}
		line = next
	}
	return s.tooLong(a.max)
}

func (a *assembler) skip(line []byte) {
	if a.skipped != nil {
		a.skipped(line[:min(len(line), maxReported)])
	}
}

// isPrefix reports whether line could be the beginning of a JSON value.
func isPrefix(line []byte) bool {
	var value json.RawMessage
	err := json.NewDecoder(bytes.NewReader(line)).Decode(&value)
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// isMessage reports whether line alone is a JSON-RPC message.
func isMessage(line []byte) bool {
	return line[0] == '{' && bytes.Contains(line, []byte(`"jsonrpc"`)) && json.Valid(line)
}

// depth counts the open brackets of a JSON text.
type depth struct {
	level           int
	quoted, escaped bool
}

func (d *depth) open() bool { return d.level > 0 || d.quoted }

func (d *depth) add(b []byte) {
	for _, c := range b {
		switch {
		case d.escaped:
			d.escaped = false
		case d.quoted:
			d.escaped, d.quoted = c == '\\', c != '"'
		case c == '"':
			d.quoted = true
		case c == '{' || c == '[':
			d.level++
		case c == '}' || c == ']':
			d.level--
		}
	}
}
