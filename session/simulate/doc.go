// Package simulate plays whole networks of sessions in one goroutine and in
// virtual time: applications with the real state machines of 1:1 sessions and
// groups, one node between them, and everything that can go wrong, all of it
// drawn from one seed. After every step it checks what must always hold, and at
// the end, when the network is well again, what must come out.
//
// It is a tool for tests, public only so that the integration tests can import
// it. There is no promise that it stays as it is.
//
//	result := simulate.Run(simulate.Config{Seed: 4711})
//	for _, v := range result.Violations {
//		t.Error(v)
//	}
//
// # What is simulated
//
// Applications subscribe names at the node, open 1:1 sessions by anycast,
// create groups, invite, remove, leave, pause, resume, publish to all and to
// one, and close. Messages are lost, doubled, delayed and overtaken; the node
// forgets everything; links break with and without notice, in one direction or
// both; applications vanish with all they know, and new instances come, or come
// back with the sessions they had stored. Their clocks are wrong and drift, their
// sessions differ in how often and how long they repeat, and tokens grow old.
//
// The machines are those of package control, untouched. Around them stands what
// package session does without goroutines: sorting messages by session,
// answering discoveries and invitations, encrypting in the order of sending,
// repeating the last word of an ended session.
//
// MLS is either a stand-in without cryptography, that has epochs with secrets,
// key packages that open one Welcome, removals and refusals, or the real core
// with a seeded source of randomness. Members that take no leaf with an old token
// are played by a check in front of either.
//
// # What is checked
//
// After every step: what is delivered was sent, by a member, once, and in the
// order of its sender; it was encrypted in an epoch that the receiver was in and
// has not forgotten; members in one epoch of one group share its secret; a
// change that is acknowledged was applied; between two ends that could reach
// each other nothing is given up and nothing is missing; nothing is settled
// twice, nor as acknowledged before everybody has said a word of it; what a
// member acknowledged it does not report as lost; no key of the stand-in is used
// twice, not even by applications that crashed and came back; no join stays half
// open; an ended machine is silent, has no timer and no keys.
//
// At the end: members and moderator agree on roster and epoch; every operation
// has an outcome; what was acknowledged was delivered; everybody hears
// everybody; what the machines hold is bounded; after all have closed, nothing
// is left.
//
// # Bugs on purpose
//
// A [Bug] makes the machines wrong in one way, from outside: it bends what goes
// in and out of them, or the stand-in for MLS. A simulation that does not find
// each of them quickly is not worth much.
package simulate
