package stdio

import "encoding/json"

// maxSkimmed bounds the id kept of an overlong message.
const maxSkimmed = 1024

// skimmer reads a JSON object as a stream and keeps only its top-level id and
// whether it has a method. Wherever the members stand, nothing else is stored.
type skimmer struct {
	size    int
	depth   int
	quoted  bool
	escaped bool
	value   bool   // behind the colon of a top-level member
	token   []byte // the top-level key or id being read
	key     string
	id      []byte
	method  bool
}

func (s *skimmer) write(b []byte) {
	s.size += len(b)
	for _, c := range b {
		s.step(c)
	}
}

func (s *skimmer) step(c byte) {
	if s.quoted {
		s.keep(c)
		switch {
		case s.escaped:
			s.escaped = false
		case c == '\\':
			s.escaped = true
		case c == '"':
			s.quoted = false
		}
		return
	}
	switch c {
	case '"':
		s.quoted = true
		s.keep(c)
	case '{', '[':
		s.keep(c)
		s.depth++
	case '}', ']':
		if s.depth == 1 {
			s.endMember()
		}
		s.depth--
	case ':':
		if s.depth == 1 && !s.value {
			s.key, s.value, s.token = string(s.token), true, s.token[:0]
		}
	case ',':
		if s.depth == 1 {
			s.endMember()
		}
	case ' ', '\t', '\r', '\n':
	default:
		s.keep(c)
	}
}

// keep stores c if it belongs to a top-level key or to the id.
func (s *skimmer) keep(c byte) {
	if s.depth == 1 && (!s.value || s.key == `"id"`) && len(s.token) < maxSkimmed {
		s.token = append(s.token, c)
	}
}

func (s *skimmer) endMember() {
	switch s.key {
	case `"id"`:
		if id := s.token; json.Valid(id) && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9') {
			s.id = append([]byte(nil), id...)
		}
	case `"method"`:
		s.method = true
	}
	s.key, s.value, s.token = "", false, s.token[:0]
}

func (s *skimmer) tooLong(limit int) *TooLongError {
	return &TooLongError{Size: s.size, Limit: limit, ID: s.id, Method: s.method}
}
