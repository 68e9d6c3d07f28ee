package jwtid

import (
	"crypto/ed25519"
	"math/big"
	"slices"
)

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// didKey is the did:key of an Ed25519 key: multibase base58btc of the multicodec
// prefix ed 01 and the key. SLIM 3.x nodes use it as issuer and subject.
func didKey(pub ed25519.PublicKey) string {
	n := new(big.Int).SetBytes(append([]byte{0xed, 0x01}, pub...))
	var digits []byte
	for base, digit := big.NewInt(58), new(big.Int); n.Sign() > 0; {
		n.DivMod(n, base, digit)
		digits = append(digits, base58[digit.Int64()])
	}
	slices.Reverse(digits)
	return "did:key:z" + string(digits)
}
