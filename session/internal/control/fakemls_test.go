package control

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// fakeMLS stands in for MLS: it has epochs and members, refuses what is not of
// an epoch it knows, and encrypts nothing.
type fakeMLS struct {
	subject string
	epoch   uint64
	members []Member
	past    uint64 // oldest epoch still accepted
	failAdd bool
	sent    int
	used    map[string]bool // keys used by anybody; nil: not looked at
}

var errFake = errors.New("fake refusal")

func (f *fakeMLS) KeyPackage(time.Time) ([]byte, error) { return []byte("kp:" + f.subject), nil }

func (f *fakeMLS) Create(time.Time) error {
	f.epoch, f.members = 0, []Member{{Leaf: 0, Subject: f.subject, Key: []byte(f.subject), Own: true}}
	return nil
}

func (f *fakeMLS) Commit(c Change, _ time.Time) (commit, welcome []byte, err error) {
	if f.failAdd && len(c.Add) > 0 {
		return nil, nil, errFake
	}
	for range c.Remove {
		f.members = f.members[:1]
	}
	for _, kp := range c.Add {
		who := string(bytes.TrimPrefix(kp, []byte("kp:")))
		if who != c.Subject {
			return nil, nil, errFake
		}
		f.members = append(f.members, Member{Leaf: 1, Subject: who, Key: []byte(who)})
	}
	commit = binary.BigEndian.AppendUint64([]byte("commit"), f.epoch)
	f.epoch++
	if len(c.Add) > 0 {
		welcome = binary.BigEndian.AppendUint64([]byte("welcome:"+f.subject+"|"), f.epoch)
	}
	return commit, welcome, nil
}

func (f *fakeMLS) Join(w []byte, _ time.Time) error {
	rest, ok := bytes.CutPrefix(w, []byte("welcome:"))
	if !ok || len(rest) < 9 {
		return errFake
	}
	other := string(rest[:len(rest)-9])
	f.epoch = binary.BigEndian.Uint64(rest[len(rest)-8:])
	f.past = f.epoch
	f.members = []Member{{Subject: other, Key: []byte(other)}, {Leaf: 1, Subject: f.subject, Own: true}}
	return nil
}

func (f *fakeMLS) Process(c []byte, _ time.Time) error {
	rest, ok := bytes.CutPrefix(c, []byte("commit"))
	if !ok || binary.BigEndian.Uint64(rest) != f.epoch {
		return errFake
	}
	f.epoch++
	return nil
}

func (f *fakeMLS) Encrypt(p, aad []byte) ([]byte, error) {
	f.sent++
	if key := fmt.Sprint(f.subject, f.sent); f.used != nil {
		if f.used[key] {
			return nil, errTwice
		}
		f.used[key] = true
	}
	b := binary.BigEndian.AppendUint64(nil, f.epoch)
	b = append(b, byte(len(aad)))
	b = append(b, aad...)
	b = append(b, byte(len(f.subject)))
	b = append(b, f.subject...)
	return append(b, p...), nil
}

func (f *fakeMLS) Decrypt(b []byte) (Plain, error) {
	if len(b) < 10 {
		return Plain{}, errFake
	}
	epoch := binary.BigEndian.Uint64(b)
	if epoch > f.epoch || epoch < f.past {
		return Plain{}, errFake
	}
	n := int(b[8])
	if len(b) < 10+n {
		return Plain{}, errFake
	}
	aad, b := b[9:9+n], b[9+n:]
	k := int(b[0])
	if len(b) < 1+k {
		return Plain{}, errFake
	}
	return Plain{Epoch: epoch, AAD: aad, Subject: string(b[1 : 1+k]), Payload: b[1+k:]}, nil
}

func (f *fakeMLS) Epoch() uint64         { return f.epoch }
func (f *fakeMLS) Members() []Member     { return f.members }
func (f *fakeMLS) ForgetBefore(e uint64) { f.past = max(f.past, e) }
func (f *fakeMLS) Wipe()                 {}
func (f *fakeMLS) Skip(n int) error      { f.sent += n; return nil }

type fakeState struct {
	Subject     string
	Epoch, Past uint64
	Members     []Member
	Sent        int
}

func (f *fakeMLS) Save() ([]byte, error) {
	return marshal(fakeState{f.subject, f.epoch, f.past, f.members, f.sent}), nil
}

func (f *fakeMLS) Load(b []byte) error {
	var s fakeState
	if json.Unmarshal(b, &s) != nil || s.Subject != f.subject {
		return errFake
	}
	f.epoch, f.past, f.members, f.sent = s.Epoch, s.Past, s.Members, s.Sent
	return nil
}

var errTwice = errors.New("a key is used twice")
