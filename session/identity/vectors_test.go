package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"
)

// Vectors. A and C: source: slim 2.2.0 (real tokens and a real
// DISCOVERY_REQUEST). B: synthetic, the public key is the P-256 generator and
// the nonce 00..0b.
const (
	secretA = "abcdefghijklmnopqrstuvwxyz012345"
	tokenA  = "org/ns/bob_lqC1MBwE:1795544665:s3TWp5uhFDE4JnLC:eyJwdWJrZXkiOiJCR1R2L0NwcGNkWlZTY3JISG9Gb21TcWgwcXBTTDhYbnFoOTNseGhOWEVOYlBpZS82ZS8reGlVU0JxTzg4TTVLYUpCc3hNMXZDT2dyaGVnN25UY25NcG89In0:0-C1IgFNtDMw-Bxosp2r_1A9XH092D9Fzxqv1y7F_Ak"
	secretB = "0123456789abcdef0123456789abcdef"
	tokenB  = "org/ns/svc_AbCd1234:1700000000:AAECAwQFBgcICQoL:eyJwdWJrZXkiOiJCR3NYMGZMaExFSkgrTHptNVdPa1FQSjNBMzJCTGVzem9QU2hPVVhZbU1LV1QrTkM0djRhZjV1TzUrdEtmQStlRml2T00xZHJNVjdPeTdaQWFEZS9VZlU9In0:rmJLu6WWp3sOzjQ-WmNI5v3bBcfdgOUXFsyJGb4wCv0"
	tokenC  = "org/ns/alice_aWa8F7LP:1795544665:YRJUxRxGHzkMTW00:eyJwdWJrZXkiOiJCRlRudExhTk1TbW1TYWpDSU1VQ3dkYzV4b250bWd6ODFsNm1qK1pIU1FyMHRKdzFjdEpLaVlOMGxydkVjYzVEdUpqQlcrTVQ0RzVLTzlsVVdsekVhT2s9In0:0sSIUQpEDAPU9w2uG3jq-sMVPIzmLPVTxKUMhn3dcHw"
	prefixC = "0801124c0a3808bbacaab7b780969f870110d1a1a6e3a4d3ddfcee011882e3daadfa91afc87b221608ecbd8e8ff4ee82c0b90110ab9786ede5efabc39b0112100a036f726712026e731a05616c696365" +
		"1a4a0a3808bbacaab7b780969f870110d1a1a6e3a4d3ddfcee0118c4e795d7b7e886d749221608ffffffffffffffffff0110ffffffffffffffffff01120e0a036f726712026e731a03626f6222e501"
	suffixC = "2801300538da80db9c0940f095d0c206"
	hashC   = "bc308e1ddb2a24c560c1eaca1e9a0400e89ebadd759dd3932effb4a6b7ee2de5"
	sigC    = "30440220337f75065949f18580a29e6d43fbf28fac4adf802f2008657dc5adc81788d775022029ad9c17955529d6cf0aaccdb7eb65f11b96c636ec680b635b341e497e64baff"
)

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func holder(t testing.TB, secret string) *SharedSecret {
	t.Helper()
	s, err := NewSecret([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewSharedSecret(s, "org/ns/app")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVectorTokens(t *testing.T) {
	generator := "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
	tests := []struct {
		name, secret, token, subject, key string
		issued                            int64
	}{
		{"A real", secretA, tokenA, "org/ns/bob_lqC1MBwE", "0464effc2a6971d65549cac71e8168992aa1d2aa522fc5e7aa1f7797184d5c435b3e27bfe9effec6251206a3bcf0ce4a68906cc4cd6f08e82b85e83b9d3727329a", 1795544665},
		{"B synthetic", secretB, tokenB, "org/ns/svc_AbCd1234", generator, 1700000000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims, err := holder(t, tt.secret).Verify(tt.token, time.Unix(tt.issued+60, 0))
			if err != nil {
				t.Fatal(err)
			}
			if claims.Subject != tt.subject || claims.IssuedAt.Unix() != tt.issued || claims.Expires.Unix() != tt.issued+3600 {
				t.Errorf("claims = %+v", claims)
			}
			if got := hex.EncodeToString(claims.PublicKey); got != tt.key {
				t.Errorf("public key = %s, want %s", got, tt.key)
			}
		})
	}
}

// TestVectorMint mints vector B again: same inputs, same bytes.
func TestVectorMint(t *testing.T) {
	p := holder(t, secretB)
	p.subject = "org/ns/svc_AbCd1234"
	p.claims = "eyJwdWJrZXkiOiJCR3NYMGZMaExFSkgrTHptNVdPa1FQSjNBMzJCTGVzem9QU2hPVVhZbU1LV1QrTkM0djRhZjV1TzUrdEtmQStlRml2T00xZHJNVjdPeTdaQWFEZS9VZlU9In0"
	got := p.mint(1700000000, [nonceSize]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	if got != tokenB {
		t.Errorf("minted %s", got)
	}
}

func TestVectorHeaderSignature(t *testing.T) {
	aad := append(mustHex(t, prefixC), tokenC...)
	aad = append(aad, mustHex(t, suffixC)...)
	if sum := sha256.Sum256(aad); hex.EncodeToString(sum[:]) != hashC {
		t.Fatal("vector is damaged")
	}
	f, err := splitToken(tokenC)
	if err != nil {
		t.Fatal(err)
	}
	key, err := decodeClaims(f.claims)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifySignature(key, aad, mustHex(t, sigC)); err != nil {
		t.Errorf("real signature: %v", err)
	}
	aad[0] ^= 1
	if err := VerifySignature(key, aad, mustHex(t, sigC)); err == nil {
		t.Error("altered input verifies")
	}
}
