package bridge

import "bytes"

// batch collects the answers to the requests of one JSON array, which revision
// 2025-03-26 wants back as one array.
type batch struct {
	open    int // requests without answer, plus one while the array is being read
	answers [][]byte
}

// done counts one request as finished, with or without an answer. It returns the
// array to send once all are, nil if there is nothing to say.
func (b *batch) done(answer []byte) []byte {
	if answer != nil {
		b.answers = append(b.answers, answer)
	}
	if b.open--; b.open > 0 || len(b.answers) == 0 {
		return nil
	}
	return append(append([]byte{'['}, bytes.Join(b.answers, []byte{','})...), ']')
}
