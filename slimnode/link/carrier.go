package link

// carrier moves whole messages. recv and send have one caller each, at the same
// time; the others may be called at any time and repeatedly.
type carrier interface {
	// recv returns the next message in a slice of its own. io.EOF means that the
	// peer ended the link in good order.
	recv() ([]byte, error)
	// send writes one message made of segments, which it does not keep or change.
	send(segs [][]byte) error
	// finish ends our side politely; recv goes on until the peer has ended too.
	// Never called beside send.
	finish()
	// abort ends the link at once and unblocks recv and send. A non-nil cause
	// with a gRPC status becomes the status of an accepted stream; else it is OK.
	abort(cause error)
	// kill is abort for a peer that does not read: it closes the connection too,
	// which else would keep what was written to it.
	kill()
	// negotiated lifts the small size limit of the first message, if there is one.
	negotiated()
}
