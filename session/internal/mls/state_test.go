package mls

import (
	"bytes"
	"errors"
	"testing"
)

func TestSaveLoad(t *testing.T) {
	a, b, c := three(t)
	agree(a, b, c)
	inFlight := a.protect("old epoch", "")
	a.commit(Change{Path: true}, b, c)
	a.reload()
	b.reload()
	b.reads(inFlight, "old epoch", "", 0)
	agree(a, b, c)
	received := a.protect("once", "")
	b.reads(received, "once", "", 0)
	b.reload()
	if _, err := b.g.Unprotect(received); !errors.Is(err, ErrReplay) {
		t.Errorf("replay after restart: %v", err)
	}
	if !bytes.Equal(b.save(), b.save()) {
		t.Error("Save is not the same twice")
	}
	a.commit(Change{Remove: []uint32{2}}, b)
	b.commit(Change{Path: true}, a)
	agree(a, b)

	whole := b.save()
	if again, err := Load(whole, b.c); err != nil {
		t.Error(err)
	} else if blob, _ := again.Save(nil); !bytes.Equal(blob, whole) {
		t.Error("saved, loaded, saved: not the same")
	}
	altered := bytes.Clone(whole)
	altered[len(altered)/2] ^= 1
	for name, bad := range map[string][]byte{"empty": nil, "truncated": whole[:len(whole)-1], "altered": altered} {
		if _, err := Load(bad, b.c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(whole, a.c); !errors.Is(err, ErrInvalidTree) {
		t.Errorf("other signer: %v", err)
	}
}

func TestForgetAndWipe(t *testing.T) {
	a, b := two(t)
	one := a.protect("1", "")
	a.commit(Change{Path: true}, b)
	two := a.protect("2", "")
	a.commit(Change{Path: true}, b)
	b.g.ForgetBefore(2)
	if _, err := b.g.Unprotect(one); !errors.Is(err, ErrWrongEpoch) {
		t.Errorf("forgotten: %v", err)
	}
	b.reads(two, "2", "", 0)
	b.g.ForgetBefore(100)
	agree(a, b)
	b.g.Wipe()
	if _, err := b.g.Unprotect(two); err == nil || b.g.Members() != nil || b.g.ID() != nil {
		t.Error("wiped group answers")
	}
	if _, err := b.g.Save(nil); err == nil {
		t.Error("wiped group can be saved")
	}
}
