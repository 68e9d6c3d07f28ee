// Package arq holds the acknowledgement, retransmission and reorder windows
// of the SLIM data path.
//
// It owns the published message ids, which peers still owe an
// acknowledgement, when to send again and when to give up ([Sender]), and per
// source the order of delivery, the gaps and the requests that fill them
// ([Receiver]). It refuses to know names, frames, encryption, the roster and
// the clock: time is an argument, outputs are return values, messages are an
// opaque T that is kept in plain form and encoded anew for every transmission.
// Ids from 2^31 up (publish_to) are outside the sequence and never come here.
// Of encryption it knows one thing: how many transmissions in a row a peer may
// miss (reach.go).
//
//	s := arq.NewSender[Peer, Message](arq.SenderConfig{Reliable: true, Interval: time.Second, MaxRetries: 10})
//	transmit(s.Online(now, bob))
//	if s.CanPublish(len(payload)) {
//		if id, ok := s.Publish(now, msg, len(payload)); ok {
//			broadcast(id, msg)
//		}
//	}
//	settle(s.Ack(bob, id))
//	resend, settled, lost := s.Tick(now) // at s.NextTimeout()
//
//	r := arq.NewReceiver[Message](arq.ReceiverConfig{Reliable: true, Interval: time.Second, MaxRetries: 10})
//	out := r.Message(now, id, msg, len(payload)) // acknowledge, deliver, request as out says
//
// To go on in another process, write Save and what Kept or Held yields before
// anything leaves that others rely on: a first transmission, lest its id is
// given to another message, and an acknowledgement.
//
//	s, err := arq.RestoreSender(config, state, content) // paused
//	s.Skipped(n)                                        // keys passed over
//	s.Resume(now)
//
// Both types are plain state, not safe for concurrent use: the goroutine that
// owns the session owns them. Returned slices belong to the caller. The rules
// follow agntcy/slim crates/session/src/{session_sender,session_receiver,
// producer_buffer,receiver_buffer}.rs, except where a comment says otherwise.
package arq
