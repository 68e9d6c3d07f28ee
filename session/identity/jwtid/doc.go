// Package jwtid is the JWT identity of package session: apps sign their own
// tokens, or present tokens that somebody else signed, and verify those of
// peers against configured keys.
//
//	me, err := jwtid.New(jwtid.Config{
//		Key:     jwtid.Key{From: jwtid.File("me.pem"), Algorithm: jwtid.ES256},
//		Subject: "org/ns/app", Issuer: "https://example.org", Audience: []string{"slim"},
//	})
//	peers, err := jwtid.NewVerifier(jwtid.VerifierConfig{
//		Keys:   jwtid.Key{From: jwtid.File("peers.jwks"), Format: jwtid.JWKS},
//		Issuer: "https://example.org", Audience: []string{"slim"},
//	})
//	app, err := session.Dial(ctx, session.Config{Name: n, Identity: me, Verifier: peers})
//
// # Tokens
//
// They are those of upstream (source: agntcy/slim crates/auth/src/jwt.rs): header
// typ, alg and, as kid, the subject; claims iss, sub, aud (always an array), exp,
// iat, nbf and pubkey, the key that signs the subject's control messages and is
// the key of its MLS leaves. That key is a P-256 key of its own, made with the
// provider or given by Config.Signer, whatever key signs the tokens.
//
// The subject is the identity: the app's 128-bit id derives from it, so two apps
// with one subject have one id and must not run at the same time.
//
// # What is checked
//
// Stricter than upstream, which accepts tokens without the configured issuer and
// audience, ignores the configured subject, nbf and iat, and allows 60 s after
// exp: here everything that is configured is required, and clocks may differ by 5
// s. The algorithm is a property of the key, never of the token alone. Each
// key of a JWKS stands for one subject, see [Trust]. Keys that are weak
// are refused: RSA below 2048 bits, HMAC secrets below 32 bytes.
//
// # Files
//
// Key and token files are looked at whenever a token is minted or verified, and
// read again when they changed; no goroutine is needed. The clock is read only
// to judge how old a file is. A provider goes on with its last good key or token
// while the file cannot be used ([Provider.Fault], [TokenFile.Fault] tell why); a
// verifier refuses all new tokens instead, with [identity.ErrNoKeys].
//
// All types are safe for concurrent use and print nothing secret.
package jwtid
