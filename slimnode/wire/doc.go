// Package wire builds, checks and rewrites the messages of the SLIM data plane.
//
// It owns the frame (one protobuf Message of dataplane.proto.v1), the rules for
// a valid one, the size limits, and the canonical bytes that the link MAC, the
// header signature and the payload signature cover. It knows no keys, no
// connections and no sessions, keeps no state and does no I/O.
//
// A node reads the header of a frame and rewrites three of its fields; all
// other bytes pass through as they came, unknown fields and their order
// included, and the payload is neither copied nor decoded:
//
//	f, err := wire.Parse(b)                     // takes b over
//	h := f.Header()                             // nil for Link and SubscriptionAck
//	targets := match(h.Destination.Key(), h.Fanout)
//	out := f.With(wire.Patch{TTL: wire.Some(h.TTL - 1), IncomingConn: wire.Some(conn)})
//	if out.SignedSize() > wire.MaxMessage { drop }
//	for range targets { write(out.With(wire.Patch{MAC: tag}).Segments()) }
//
// An end point uses [Encode] and [Frame.Message] instead. The flow on a link:
//
//	dialer                 acceptor
//	  | Link (request) ------> |
//	  | <------- Link (reply)  |
//	  | Subscribe -----------> |
//	  | <--- SubscriptionAck   |
//	  | <----- Publish ------> |
//
// A Frame is never changed after it was made: it may be read by many goroutines
// at once. There is no promise of API compatibility for this package.
package wire
