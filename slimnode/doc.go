// Package slimnode is a SLIM data-plane node: it accepts links, keeps who
// subscribed what, and forwards messages. It can be embedded in any program.
//
//	n, err := slimnode.New(slimnode.Config{Listeners: []slimnode.Listener{{Endpoint: "127.0.0.1:46357"}}})
//	if err != nil {
//		return err
//	}
//	if err := n.Start(ctx); err != nil { // returns once it listens
//		return err
//	}
//	<-ctx.Done()
//	err = n.Drain(timeout) // hand out what is queued, then close
//
// It knows nothing of sessions: identity tokens, payloads and metadata pass
// through byte for byte, and what it changes in a message is ttl,
// incoming_conn, recv_from, forward_to and header_mac. A message that cannot be
// delivered is dropped and counted, as SLIM does; recovery belongs to sessions.
//
// A link of type Remote ranks as Edge and one of type Peer is refused: type
// decides who gets an anycast, so a client may not choose it. The local
// instructions recv_from and forward_to are not obeyed when they come over a
// link.
//
// Flow control: every link has a bounded, lossless, ordered outbox. When it is
// full, the readers of those who send to it wait, and through them the senders;
// all others go on. A consumer that takes nothing for Config.StuckTimeout while
// somebody waits is disconnected.
//
// Goroutines: each link has one reader (this package) and one writer (package
// link), each listener and dialled client has one, and a watchdog looks for
// stuck consumers. [Node.Close] waits for all. A Node is safe for concurrent
// use.
package slimnode
