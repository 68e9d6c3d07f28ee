// Package control holds the pure cores of sessions, one state machine each:
// [Machine] for 1:1 sessions, [Moderator] and [Participant] for groups.
// Discovery, join, MLS welcome and commits, data, heartbeats, key rotation,
// absence and farewell are theirs.
//
// A machine is data: Step takes the time and an [Event] and returns an
// [Output], the messages to send and what to tell the application; NextTimeout
// says when to step with [Tick]. It knows no clock, lock, link, token or
// signature: whoever drives it authenticates what comes in and signs and
// encrypts what goes out. It holds the session's MLS group behind the [MLS]
// interface, because commits and messages must be applied in one order. A
// machine is not safe for concurrent use.
//
//	m := control.New(control.Config{Role: control.Initiator, ...})
//	out := m.Step(now, control.Start{})
//	for { emit(out); out = m.Step(now(), nextEvent(m.NextTimeout())) }
//
// # 1:1 sessions
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
// # Groups
//
// The moderator opens a channel with Start and is open at once. It makes one
// change of the group at a time (a task); others wait in a queue. A commit is
// applied before it is sent, and is on its way before anything encrypted with
// the new keys ([Outbound] Urgent).
//
//	moderator: task and stage                                  to whom
//	inviting     atDiscovery  DISCOVERY_REQUEST ->, DISCOVERY_REPLY <-   any instance
//	             atJoin       JOIN_REQUEST ->, JOIN_REPLY <-             the one that answered
//	             atWelcome    GROUP_UPDATE(ADD) ->, GROUP_ACK <- each    the others
//	                          GROUP_WELCOME ->, GROUP_ACK <-             the new one
//	removing     atUpdate     GROUP_UPDATE(REMOVE) ->, GROUP_ACK <- each the others
//	             atLeave      LEAVE_REQUEST ->, LEAVE_REPLY <-           the removed one
//	readmitting  atUpdate     REJOIN_REPLY ->, GROUP_ACK <-              the one that asked
//	                          GROUP_UPDATE(REJOIN) ->, GROUP_ACK <- each all
//	rotating     atUpdate     GROUP_UPDATE(REJOIN of itself) ->, GROUP_ACK <- each
//
//	moderator: state
//	idle -Start-> open -SoftClose-> away -Rejoin-> open
//	              open -Drain-> draining;  open, away, draining -Close-> closing -GROUP_ACK each-> ended
//
//	participant: state
//	idle -Start-> joined           JOIN_REQUEST <-, JOIN_REPLY ->   (half open: expires)
//	joined -> subscribing          GROUP_WELCOME <-                 (Output.Subscribe)
//	subscribing -Subscribed-> open GROUP_ACK ->
//	open -SoftClose-> away         UPDATE_PARTICIPANT_STATE(OFFLINE) ->, GROUP_ACK <- each
//	away -Rejoin-> open            UPDATE_PARTICIPANT_STATE(ONLINE) ->, GROUP_ACK <- each, or
//	                               GROUP_NACK <-, REJOIN_REQUEST ->, REJOIN_REPLY <-, GROUP_ACK ->
//	open -Close-> closing          LEAVE_REQUEST ->, LEAVE_REPLY <- ended
//	any -> ended                   LEAVE_REQUEST <-, LEAVE_REPLY ->, or GROUP_CLOSE <-, GROUP_ACK ->
//
// Members see each other by heartbeats and by what they say. Offline means: on
// no list of those who must answer; it stays a member. A member that missed
// commits is sent them again when its heartbeat shows the old epoch, or asks to
// be let in anew; so does one whose token grows old, and one that missed so many
// messages of somebody that it cannot decrypt more in this epoch. When the last participant
// is gone the channel stays open (upstream closes it).
//
// # Where upstream wedges
//
// The rules follow agntcy/slim crates/session/src/{session_moderator,
// session_participant,moderator_task,session_controller}.rs. Ours differ where
// those hang or forget; each place has a comment. Requests are repeated under
// new message ids, since a real peer answers none twice; repeated requests get
// the stored answer; being seen in an epoch counts as the acknowledgement of its
// commit; nobody waits for members that were removed; half-open joins expire
// and failed invitations are undone; answers that nobody asked for are dropped;
// a removed member that did not hear of it is told when it speaks up.
package control
