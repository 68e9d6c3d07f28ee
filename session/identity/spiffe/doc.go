// Package spiffe is the SPIFFE identity of package session: JWT-SVIDs from a
// SPIFFE Workload API, such as a SPIRE agent, and their verification against the
// trust bundles that it hands out.
//
//	me, err := spiffe.Open(ctx, spiffe.Config{Addr: "/run/spire/agent.sock"})
//	defer me.Close() // after the app
//	app, err := session.Dial(ctx, session.Config{Name: n, Identity: me, Verifier: me})
//
// # Tokens
//
// A token is a JWT-SVID for the audiences of the configuration and one more, which
// carries the key that signs the subject's control messages and is the key of its
// MLS leaves (source: agntcy/slim crates/auth/src/spire.rs):
//
//	"slim-claims:" + base64 of {"pubkey":"<base64 of the public key>"}
//
// The agent signs it together with the rest, and hands it to nobody but this
// workload, so it binds the key to the SPIFFE ID. The subject is the SPIFFE ID; the
// app's 128-bit id derives from it, so two processes with one SPIFFE ID have one
// id and must not use one name at the same time.
//
// # Goroutines
//
// [Open] starts one that renews the SVID when two thirds of its life are over,
// and go-spiffe some that follow the bundles; [Source.Close] ends them all and
// waits. Nothing else blocks: tokens and bundles come from memory. If the agent is
// away, the SVID stays in use until it expires, and the bundles as long as it
// takes.
//
// A Source is safe for concurrent use and prints nothing secret.
package spiffe
