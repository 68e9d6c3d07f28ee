// Package link is one link of the SLIM data plane: a stream of frames between
// two speakers over gRPC or WebSocket, with its negotiation, its key agreement
// and the MAC on every header.
//
// It owns the carriers, the bounded outbox of a link, dialling with back-off
// and the accepting server. It knows nothing of routes, subscriptions or
// sessions: it never answers, forwards or changes a frame, except that the
// writer replaces header_mac and removes recv_from and forward_to.
//
//	c, err := link.Dial(ctx, "http://127.0.0.1:46357", link.DialConfig{})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	err = c.Send(ctx, subscribe) // queued, signed when written
//	for {
//		f, err := c.Recv(ctx) // only frames whose MAC is right
//		...
//	}
//
// How a link comes up (source: agntcy/slim crates/datapath negotiation and
// link_ecdh). Both sides have the negotiation timeout, 5 s, for all of it:
//
//	dialer                                         acceptor
//	  | link_id, version, X25519 key [, ML-KEM key] ---> |  checks, derives K
//	  | <--- same link_id, own X25519 key [, ciphertext] |
//	  | derives K                                        |
//	  | <============ signed frames, any order ========> |
//
// Goroutines: every Conn owns one writer, and its reader is the caller of Recv.
// Close ends and waits for all of them. Send, Close and the accessors are safe
// for concurrent use, Recv is for one goroutine.
//
// There is no promise of API compatibility for this package.
package link
