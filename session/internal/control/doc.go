// Package control is the pure core of a 1:1 session: discovery, join, MLS
// welcome, data, heartbeats, key rotation and farewell, as one state machine.
//
//	initiator (moderator)                                     responder (participant)
//	discovering   DISCOVERY_REQUEST  -> any instance of the name
//	              DISCOVERY_REPLY    <- the one that answers is the peer from now on
//	joining       JOIN_REQUEST       ->                        joined (half open: expires)
//	              JOIN_REPLY         <-   [key package]
//	welcoming     GROUP_WELCOME      ->   [Welcome]            open
//	open          GROUP_ACK          <-
//	open          MSG, MSG_ACK, RTX_REQUEST, RTX_REPLY, HEARTBEAT, both ways   open
//	open          GROUP_UPDATE       ->   [commit: new keys], GROUP_ACK <-     open
//	closing       GROUP_CLOSE        ->, GROUP_ACK <-          ended
//	ended         LEAVE_REQUEST      <-, LEAVE_REPLY ->        closing
//
// A [Machine] is data: [Machine.Step] takes the time and an [Event] and returns
// an [Output], the messages to send and what to tell the application;
// [Machine.NextTimeout] says when to step with [Tick]. It knows no clock, lock,
// link, token or signature: whoever drives it authenticates what comes in and
// signs and encrypts what goes out. It holds the session's MLS group behind the
// [MLS] interface, because commits and messages must be applied in one order.
//
//	m := control.New(now, control.Config{Role: control.Initiator, ...})
//	out := m.Step(now, control.Start{})
//	for { emit(out); out = m.Step(now(), nextEvent(m.NextTimeout())) }
//
// A Machine is not safe for concurrent use. The rules follow agntcy/slim
// crates/session/src/{session_moderator,session_participant,
// session_controller}.rs; where ours differ (new message ids on
// retransmission, stored replies for repeats, expiry of half-open joins) a
// comment says why.
package control
