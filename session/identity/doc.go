// Package identity says who an app is, and checks what others say they are.
//
// A [Provider] mints identity tokens and signs with the app's key; a
// [Verifier] checks tokens. A token names its subject and carries the public
// key that signs the subject's control messages and its MLS leaf.
// [SharedSecret] is both: every holder of one secret trusts every other. Package
// jwtid has identities that are JWTs, package spiffe those of a SPIFFE Workload
// API; apps that import neither compile neither library.
//
//	secret, err := identity.ReadSecretFile("slim.secret")
//	me, err := identity.NewSharedSecret(secret, "org/ns/app")
//	token, err := me.Token(time.Now())
//	sig, err := me.Signer().Sign(message)
//
//	claims, err := me.Verify(token, time.Now())
//	err = identity.VerifySignature(claims.PublicKey, message, sig)
//
// Such an identity is a new one each time: its subject has a random suffix, and
// its key is in memory alone. [KeepSharedSecret] and, for JWT and SPIFFE
// identities, [KeepSigner] make one that outlives the process, in a [Store] such
// as package statefile's.
//
// The package knows nothing of sessions, names' routing or MLS, opens no
// connection, reads no clock and never puts a token, key or secret in an error
// or a log. It does not remember nonces: one token may stand on a batch of
// messages and on every retransmission of them, so a replay is for the owner
// of message ids to notice.
//
// All types are safe for concurrent use.
package identity
