// Package mlsdiff has nothing but tests: it compares the MLS core with another
// implementation of RFC 9420, github.com/thomas-vilte/mls-go, in groups that
// mix members of both, and measures one beside the other. It is a module of its
// own so that the other implementation is no dependency of this repository's
// main module.
//
//	go test .                                     # several hundred groups
//	go test -run 'Differential/short/17$' -v .    # one of them
//	go test -first 1000 -histories 5000 .         # others
//	go test -run '^$' -bench . -count 6 .         # figures of both
package mlsdiff
