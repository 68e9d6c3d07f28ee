// Package jws makes and checks signed JSON Web Tokens (RFC 7515, 7519) for the
// identities of package session/identity, and reads their keys (PEM, RFC 7517,
// RFC 7518 section 6, RFC 8037). It is the only importer of golang-jwt.
//
// What a key may be used for is a property of the [Key], fixed when it is read:
// its type and, where given, one algorithm. A token can pick one of these and
// nothing else, so that no public key is ever taken for an HMAC secret and
// "none" is no algorithm at all (RFC 8725 section 3.1).
//
// The package reads no clock and no files. Its errors tell what is wrong with a
// key, never a byte of key or token.
package jws
