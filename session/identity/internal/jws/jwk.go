package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// errForeign is about a JWK of a kind that is not ours to judge; RFC 7517
// section 5 wants such members of a set ignored.
var errForeign = errors.New("JWK is no signature key of a supported kind: want kty oct, RSA, EC (P-256, P-384) or OKP (Ed25519), use sig")

// jwk holds the members of a JWK that count, text by text. The decoder is
// given a map first, since struct fields match keys in any letter case.
type jwk map[string]json.RawMessage

func (j jwk) text(member string) (string, error) {
	raw, ok := j[member]
	if !ok {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("JWK member %s is not a string", member)
	}
	return s, nil
}

// bytes decodes base64url without padding; every member needs at least a byte.
func (j jwk) bytes(member string) ([]byte, error) {
	s, err := j.text(member)
	if err != nil {
		return nil, err
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || base64.RawURLEncoding.EncodedLen(len(b)) != len(s) {
		return nil, fmt.Errorf("JWK member %s is missing or no base64url", member)
	}
	return b, nil
}

// ParseJWK reads one JWK, public or private. Its own "alg" counts; alg must
// agree with it, or stands in for it.
func ParseJWK(text []byte, alg string) (*Key, error) {
	var j jwk
	if err := json.Unmarshal(text, &j); err != nil || j == nil {
		return nil, errors.New("key is no JSON object, as a JWK is")
	}
	return parseJWK(j, alg)
}

// ParseJWKS reads a set. Members of foreign kinds are left out; a weak or
// malformed one, or a key id that comes twice, spoils the set. alg as for
// [ParseJWK], with members of other algorithms left out.
func ParseJWKS(text []byte, alg string) ([]*Key, error) {
	var set map[string]json.RawMessage
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("keys are no JSON object, as a JWKS is")
	}
	var members []jwk
	if err := json.Unmarshal(set["keys"], &members); err != nil {
		return nil, errors.New(`JWKS has no array "keys" of objects`)
	}
	if len(members) > MaxKeys {
		return nil, fmt.Errorf("JWKS holds %d keys, at most %d are allowed", len(members), MaxKeys)
	}
	var keys []*Key
	for i, j := range members {
		k, err := parseJWK(j, "")
		if errors.Is(err, errForeign) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %d of the JWKS: %w", i+1, err)
		}
		if k.ID != "" && slices.ContainsFunc(keys, func(o *Key) bool { return o.ID == k.ID }) {
			return nil, fmt.Errorf("key %d of the JWKS: key id comes twice", i+1)
		}
		if alg != "" {
			if k, err = k.Narrow(alg); err != nil {
				continue
			}
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("JWKS holds no key that can be used")
	}
	return keys, nil
}

func parseJWK(j jwk, alg string) (*Key, error) {
	kty, err := j.text("kty")
	if err != nil {
		return nil, err
	}
	id, err := j.text("kid")
	if err != nil {
		return nil, err
	}
	own, err := j.text("alg")
	if err != nil {
		return nil, err
	}
	if err := j.checkUse(); err != nil {
		return nil, err
	}
	switch {
	case own != "" && !known(own):
		return nil, errForeign
	case own != "" && alg != "" && own != alg:
		return nil, errors.New("JWK is for another algorithm than the configured one")
	case own != "":
		alg = own
	}
	switch kty {
	case "oct":
		secret, err := j.bytes("k")
		if err != nil {
			return nil, err
		}
		return NewSecret(id, secret, alg)
	case "RSA":
		return j.rsa(id, alg)
	case "EC":
		return j.ec(id, alg)
	case "OKP":
		return j.okp(id, alg)
	}
	return nil, errForeign
}

func known(alg string) bool {
	return slices.Contains(algHMAC, alg) || slices.Contains(algRSA, alg) || slices.Contains([]string{"ES256", "ES384", "EdDSA"}, alg)
}

// checkUse honours "use" and "key_ops" (RFC 7517 sections 4.2 and 4.3).
func (j jwk) checkUse() error {
	use, err := j.text("use")
	if err != nil {
		return err
	}
	if use != "" && use != "sig" {
		return errForeign
	}
	if raw, ok := j["key_ops"]; ok {
		var ops []string
		if err := json.Unmarshal(raw, &ops); err != nil {
			return errors.New("JWK member key_ops is not an array of strings")
		}
		if !slices.Contains(ops, "sign") && !slices.Contains(ops, "verify") {
			return errForeign
		}
	}
	return nil
}

func (j jwk) rsa(id, alg string) (*Key, error) {
	n, errN := j.bytes("n")
	e, errE := j.bytes("e")
	if err := errors.Join(errN, errE); err != nil {
		return nil, err
	}
	if len(n) > MaxRSA/8+1 || len(e) > 4 {
		return nil, errors.New("JWK holds an RSA key that is too large")
	}
	pub := rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if _, private := j["d"]; !private {
		return NewPublic(id, &pub, alg)
	}
	var parts [3]*big.Int
	for i, member := range []string{"d", "p", "q"} {
		b, err := j.bytes(member)
		if err != nil || len(b) > MaxRSA/8+1 {
			return nil, fmt.Errorf("JWK member %s of the private key is missing or malformed", member)
		}
		parts[i] = new(big.Int).SetBytes(b)
	}
	if _, err := algorithmsOf(&pub); err != nil {
		return nil, err // before calculations with it
	}
	private := &rsa.PrivateKey{PublicKey: pub, D: parts[0], Primes: parts[1:]}
	private.Precompute()
	if private.Validate() != nil {
		return nil, errors.New("JWK holds an inconsistent RSA key")
	}
	return NewPrivate(id, private, alg)
}

func (j jwk) ec(id, alg string) (*Key, error) {
	crv, err := j.text("crv")
	if err != nil {
		return nil, err
	}
	curve, ok := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[crv]
	if !ok {
		return nil, errForeign
	}
	x, errX := j.bytes("x")
	y, errY := j.bytes("y")
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	if size := curve.Params().BitSize / 8; len(x) != size || len(y) != size {
		return nil, errors.New("JWK members x and y have the wrong length for the curve")
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("JWK members x and y are no point of the curve")
	}
	if _, private := j["d"]; !private {
		return NewPublic(id, pub, alg)
	}
	d, err := j.bytes("d")
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.ParseRawPrivateKey(curve, d)
	if err != nil || !private.PublicKey.Equal(pub) {
		return nil, errors.New("JWK member d is not the private key of x and y")
	}
	return NewPrivate(id, private, alg)
}

func (j jwk) okp(id, alg string) (*Key, error) {
	crv, err := j.text("crv")
	if err != nil {
		return nil, err
	}
	if crv != "Ed25519" {
		return nil, errForeign
	}
	x, err := j.bytes("x")
	if err != nil || len(x) != ed25519.PublicKeySize {
		return nil, errors.New("JWK member x is no Ed25519 public key")
	}
	if _, private := j["d"]; !private {
		return NewPublic(id, ed25519.PublicKey(x), alg)
	}
	d, err := j.bytes("d")
	if err != nil || len(d) != ed25519.SeedSize {
		return nil, errors.New("JWK member d is no Ed25519 private key")
	}
	private := ed25519.NewKeyFromSeed(d)
	if !private.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(x)) {
		return nil, errors.New("JWK member d is not the private key of x")
	}
	return NewPrivate(id, private, alg)
}
