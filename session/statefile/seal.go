package statefile

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"sync/atomic"
)

const (
	keySize     = 32
	saltSize    = 32
	counterSize = 8
	nonceSize   = 12
	tagSize     = 16
	prefixSize  = saltSize + counterSize
	overhead    = prefixSize + tagSize // sealed less plain, in bytes
	maxOpeners  = 64                   // keys of earlier runs remembered while reading
)

// hashedName is what a record lies under.
type hashedName [sha256.Size]byte

// keys derive from the caller's key and the salt of the file (RFC 5869).
type keys struct {
	root  []byte // pseudorandom key; the sealing keys derive from it
	names []byte // hides names
	set   []byte // digests
	check []byte // is in the file, to tell a wrong key
}

func deriveKeys(key, fileSalt []byte) (*keys, error) {
	root, err := hkdf.Extract(sha256.New, key, fileSalt)
	if err != nil {
		return nil, err
	}
	k := &keys{root: root}
	for _, sub := range []struct {
		to      *[]byte
		purpose string
	}{{&k.names, "names"}, {&k.set, "set"}, {&k.check, "check"}} {
		if *sub.to, err = hkdf.Expand(sha256.New, root, magic+sub.purpose, keySize); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func (k *keys) clear() {
	for _, b := range [][]byte{k.root, k.names, k.set, k.check} {
		clear(b)
	}
}

func (k *keys) hashName(name string) (h hashedName) {
	mac := hmac.New(sha256.New, k.names)
	mac.Write([]byte(name))
	mac.Sum(h[:0])
	return h
}

// aead is the cipher of the run that drew salt.
func (k *keys) aead(salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, k.root, magic+"records"+string(salt), keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealer seals for one run, that is from one Open to its Close. It is safe for
// concurrent use.
type sealer struct {
	salt [saltSize]byte
	aead cipher.AEAD
	used atomic.Uint64 // nonces given out; none is given out again, whatever fails
}

func (k *keys) newSealer() (*sealer, error) {
	s := &sealer{}
	rand.Read(s.salt[:]) // never fails: crypto/rand ends the program instead
	var err error
	s.aead, err = k.aead(s.salt[:])
	return s, err
}

// seal returns salt, counter and ciphertext.
func (s *sealer) seal(aad, plain []byte) []byte {
	sealed := make([]byte, prefixSize, overhead+len(plain))
	copy(sealed, s.salt[:])
	binary.BigEndian.PutUint64(sealed[saltSize:], s.used.Add(1))
	return s.aead.Seal(sealed, nonceOf(sealed), plain, aad)
}

func nonceOf(sealed []byte) []byte {
	nonce := make([]byte, nonceSize)
	copy(nonce[nonceSize-counterSize:], sealed[saltSize:prefixSize])
	return nonce
}

// opener opens what any run has sealed. It is not safe for concurrent use.
type opener struct {
	keys   *keys
	bySalt map[[saltSize]byte]cipher.AEAD
}

func (k *keys) newOpener() *opener {
	return &opener{keys: k, bySalt: map[[saltSize]byte]cipher.AEAD{}}
}

// open returns the plaintext in new memory.
func (o *opener) open(aad, sealed []byte) ([]byte, error) {
	if len(sealed) < overhead {
		return nil, ErrDamaged
	}
	salt := [saltSize]byte(sealed)
	aead := o.bySalt[salt]
	if aead == nil {
		var err error
		if aead, err = o.keys.aead(salt[:]); err != nil {
			return nil, err
		}
		if len(o.bySalt) >= maxOpeners {
			clear(o.bySalt)
		}
		o.bySalt[salt] = aead
	}
	plain, err := aead.Open(nil, nonceOf(sealed), sealed[prefixSize:], aad)
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

// recordAAD binds a record to where it lies.
func recordAAD(name hashedName) []byte { return append([]byte(magic+"record"), name[:]...) }

// stateAAD is that of the digest.
func stateAAD() []byte { return []byte(magic + "state") }

// encodeRecord is the plaintext of a record: the length of the name in two
// bytes, name, value.
func encodeRecord(name string, value []byte) []byte {
	plain := make([]byte, 0, 2+len(name)+len(value))
	plain = binary.BigEndian.AppendUint16(plain, uint16(len(name)))
	plain = append(plain, name...)
	return append(plain, value...)
}

// decodeRecord is the reverse. The value shares plain's memory.
func decodeRecord(plain []byte) (name string, value []byte, err error) {
	if len(plain) < 2 {
		return "", nil, ErrDamaged
	}
	n := 2 + int(binary.BigEndian.Uint16(plain))
	if n > len(plain) {
		return "", nil, ErrDamaged
	}
	return string(plain[2:n]), plain[n:], nil
}

// digest stands for a set of records: the XOR of a keyed hash of each, and
// their number. Its value is only ever stored sealed, so nobody can choose
// records with a sum in mind.
type digest struct {
	sum   [sha256.Size]byte
	count uint64
}

func (d *digest) add(key []byte, name hashedName, sealed []byte) {
	d.toggle(key, name, sealed)
	d.count++
}

func (d *digest) remove(key []byte, name hashedName, sealed []byte) {
	d.toggle(key, name, sealed)
	d.count--
}

// toggle hashes what no two records share, key and nonce, and the tag, which
// stands for the rest.
func (d *digest) toggle(key []byte, name hashedName, sealed []byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write(name[:])
	mac.Write(sealed[:prefixSize])
	mac.Write(sealed[len(sealed)-tagSize:])
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	subtle.XORBytes(d.sum[:], d.sum[:], sum[:])
}

func (d *digest) encode() []byte {
	return binary.BigEndian.AppendUint64(d.sum[:len(d.sum):len(d.sum)], d.count)
}

func decodeDigest(plain []byte) (d digest, err error) {
	if len(plain) != sha256.Size+8 {
		return digest{}, ErrDamaged
	}
	copy(d.sum[:], plain)
	d.count = binary.BigEndian.Uint64(plain[sha256.Size:])
	return d, nil
}
