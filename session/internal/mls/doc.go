// Package mls is Messaging Layer Security (RFC 9420) as SLIM uses it: key
// packages, commits, Welcomes, and messages for a group.
//
//	g, err := mls.Create(config, nil, now, rand.Reader)             // moderator
//	commit, welcome, err := g.Commit(mls.Change{Add: [][]byte{kp}}, now, rand.Reader)
//
//	kp, pending, err := mls.NewKeyPackage(config, now, rand.Reader) // participant
//	g, err := mls.Join(config, pending, welcome)
//	delta, err := g.Process(commit)
//
//	blob, err := g.Protect(nil, text, aad, rand.Reader)             // everybody
//	msg, err := g.Unprotect(blob)
//
// Nothing here does I/O, starts a goroutine, locks, reads a clock or logs, and
// no type is safe for concurrent use. It needs the standard library only.
//
// # Profile
//
// What SLIM's own library (mls-rs 0.54) can send inside SLIM is what is built:
// cipher suites 1 and 2; basic credentials, whose content is the business of
// [Config].Verify and [Config].Subject; every message a whole MLSMessage; key
// packages, leaves and groups without extensions; commits as public messages of
// a member, with proposals Add and Remove by value and an optional path;
// Welcomes that carry the ratchet tree; application data as private messages.
//
// Deliberately absent, and refused: pre-shared keys, ReInit, branches, external
// joins, commits and senders, GroupContextExtensions, custom proposals and
// credentials, proposals by reference, Update by value (the RFC forbids it to a
// committer), handshakes as private messages, exporter and resumption secrets,
// Welcomes without a tree. A few unexported hooks (proposals by reference, a
// pre-shared key, a tree out of band) exist so that the working group's vectors
// can run; no exported call reaches them.
//
// # Where each rule comes from
//
//	codec.go        section 2.1 (lengths in shortest form, nothing left over)
//	kdf.go          sections 5.2, 8, 9 (ExpandWithLabel and its kin)
//	suite.go        sections 5.1, 17.1; hpke.go: section 5.1.3, RFC 9180
//	leaf.go         sections 7.2, 7.3; keypackage.go: sections 10, 10.1
//	treemath.go     appendix C
//	tree.go         sections 4.1, 7.7, 12.1; treehash.go: sections 7.8, 7.9
//	treevalid.go    sections 7.9.2, 12.4.3.1
//	treekem.go      sections 7.4 to 7.6, 12.4.2
//	schedule.go     section 8; secrettree.go, ratchet.go: section 9
//	framing.go      sections 6.1 to 6.3; message.go: 6.3, 9.2
//	proposal.go     sections 12.1 to 12.3; commit.go, process.go: 12.4
//	welcome.go      sections 12.4.3, 12.4.3.1, 11
//
// Beyond the RFC, so that we and mls-rs never split a group: the padding of
// messages, the wire order of proposals (Adds, then Removes), the refusal of
// default types in capabilities, lifetimes that only the adder looks at, and a
// path whenever the root of the tree would be blank, because mls-rs 0.54
// refuses some valid trees that follow from leaving it out.
//
// # What is assumed of an attacker
//
// The network and the nodes of SLIM are hostile: they see, drop, repeat, alter
// and invent messages. They learn group ids, epochs, the sizes of messages and
// what is in public messages (credentials of new members among it), and nothing
// that is protected. Members are honest only towards the secrets they are
// entitled to: a member can refuse service to the group (nobody can stop it
// from committing nonsense that only some can decrypt), but cannot make another
// member crash, allocate without bound, accept an invalid tree, or take a
// message for somebody else's. It can repeat what another member said in the
// epoch, word for word and with the same authenticated data, under a generation
// that this one has not used yet, and which is then used up: whoever minds puts
// the number of a message into its authenticated data. A removed member reads
// nothing from the commit on that removes it, and is not heard any more either,
// not even with messages of an epoch in which it was a member.
//
// Every call is atomic: one that is refused leaves the group as it was, so that
// [Group.Save] gives the same bytes. Errors are a kind, a constant reason and
// the error of a callback; they hold no byte of a message, credential or key.
// Failures to decrypt look all alike.
//
// # Windows and bounds
//
//   - A sender may be [MaxAhead] generations ahead in one jump, and so many of
//     its skipped keys are kept; the oldest go first. SLIM sends what is lost
//     again under a new generation, so nobody needs more.
//   - A key is used up by a message that is good in every respect only. mls-rs
//     deletes it first, so that one bit flipped by a node loses the message.
//   - [PastEpochs] past epochs decrypt what is still on its way;
//     [Group.ForgetBefore] ends that as soon as nothing can come any more.
//   - Messages are bounded by 16 MiB, trees by 1024 leaves, commits by 512
//     proposals, credentials and the extensions of a leaf by 32 KiB; each length
//     is compared with what is there before anything is allocated for it, and no
//     decoder recurses on its input.
//   - Our key packages begin an hour before now; one that we add may begin
//     [ClockSkew] after now.
//
// # Forgetting
//
// Secrets are overwritten when they have done their work: init keys after a
// join, the secrets of the schedule at the end of a call, nodes of the secret
// tree once their children are derived, a ratchet's secret when the next is
// derived, message keys after use, private keys when they are replaced, an
// epoch's init secret once the next is entered. Past epochs keep only what
// decrypts.
//
// Go cannot promise erasure: the runtime may have copied a stack, and the
// standard library's own key objects are out of reach. What was saved by
// [Group.Save] lives as long as its copies.
//
// # Randomness
//
// Key pairs, secrets and nonces derive from the reader that each call is given.
// ECDSA nonces and the ephemeral keys of HPKE come from the runtime, which does
// not let a caller choose them.
package mls
