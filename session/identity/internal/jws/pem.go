package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// ParsePEM reads one key: "PUBLIC KEY" or "RSA PUBLIC KEY", or "PRIVATE KEY",
// "EC PRIVATE KEY" or "RSA PRIVATE KEY". A block "EC PARAMETERS" before it,
// which openssl writes, is passed over.
func ParsePEM(text []byte, alg string) (*Key, error) {
	block, rest := pem.Decode(text)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("key is not PEM: it starts with -----BEGIN")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block: leave one key, or use JWKS for several")
	}
	parsed, err := parseBlock(block)
	if err != nil {
		return nil, err
	}
	if private, ok := parsed.(crypto.Signer); ok {
		if err := refuseP521(private.Public()); err != nil {
			return nil, err
		}
		return NewPrivate("", private, alg)
	}
	if err := refuseP521(parsed); err != nil {
		return nil, err
	}
	return NewPublic("", parsed, alg)
}

func parseBlock(block *pem.Block) (any, error) {
	var parsed any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errors.New("PEM block is no key: want PUBLIC KEY or PRIVATE KEY")
	}
	if err != nil {
		return nil, errors.New("PEM block does not hold the key that it announces") // err might quote it
	}
	return parsed, nil
}

// refuseP521 is for keys of our own choice: SLIM peers know no ES512.
func refuseP521(pub crypto.PublicKey) error {
	if ec, ok := pub.(*ecdsa.PublicKey); ok && ec.Curve == elliptic.P521() {
		return errors.New("EC key of an unsupported curve: want P-256 or P-384")
	}
	return nil
}
