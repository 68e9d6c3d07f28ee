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
// The profile: cipher suite 2 only; basic credentials; every message a whole
// MLSMessage; key packages and groups without extensions; commits are public
// messages of a member with proposals Add and Remove by value; Welcomes carry
// the ratchet tree and no pre-shared key; application data is a private
// message. Anything else is refused. What a credential means is the business
// of Config.Verify and Config.Subject.
//
// Nothing here does I/O, starts a goroutine, locks or logs, and no type is
// safe for concurrent use. A refused Commit, Process or Join changes nothing: Save
// gives the same bytes before and after.
//
// # Limits of this implementation
//
// The protocol arithmetic is that of a library, which sets limits:
//
//   - Lifetimes are also checked against the machine's clock, without
//     tolerance, by both ends of an Add: see [Error.RetryAt].
//   - Randomness other than for key packages and new groups is the runtime's.
//   - Commit needs a Signer that hands out its key (method ECDSA).
//   - A commit that is alone in its group has no path.
//   - Message keys of an epoch can be derived again from what is kept until the
//     epoch is forgotten: deletion works by epoch, not by message.
//   - A refused Unprotect may advance a ratchet; what it can decrypt, and what
//     counts as a replay, stays the same.
//   - A message with a wrong signature by a member uses up its generation.
//   - After Load, and after about 500 messages without a gap or 2000 with one,
//     messages that were skipped before cannot be decrypted any more.
//   - A path is encrypted on goroutines of the library, which end before Commit
//     returns.
//   - The path secret of a Welcome is not compared with the tree; a wrong one
//     shows when the next path cannot be read.
//   - Past epochs are kept whole, up to PastEpochs, or until ForgetBefore.
package mls
