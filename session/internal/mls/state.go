package mls

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/thomas-vilte/mls-go/group"
)

// The saved form: magic, format number, number of epochs, the epochs from the
// oldest to the current, SHA-256 of it all. An epoch is the library's state and
// the next expected generation of each sender.
const (
	stateMagic  = "SLIMmls"
	stateFormat = 1
)

// Save appends the group's state to dst, with all secrets in clear: the caller
// encrypts it. It is the same for the same state.
func (g *Group) Save(dst []byte) ([]byte, error) {
	if err := g.alive(); err != nil {
		return nil, err
	}
	start := len(dst)
	dst = append(dst, stateMagic...)
	dst = append(dst, stateFormat, byte(len(g.past)+1))
	for _, e := range append(slices.Clone(g.past), g.now) {
		err := guard(ErrUnsupported, "save", func() error {
			blob, err := e.state()
			if err != nil {
				return err
			}
			dst = appendVec(dst, blob)
			clear(blob)
			return nil
		})
		if err != nil {
			return nil, err
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(e.windows)))
		for _, leaf := range slices.Sorted(maps.Keys(e.windows)) {
			dst = binary.BigEndian.AppendUint32(dst, leaf)
			dst = binary.BigEndian.AppendUint64(dst, e.windows[leaf].next)
		}
	}
	sum := sha256.Sum256(dst[start:])
	return append(dst, sum[:]...), nil
}

// Load restores a group that Save has saved. Messages received before cannot
// be received again; messages that had been skipped are lost. The checksum
// finds accidents only: the caller's encryption must authenticate.
func Load(b []byte, c Config) (*Group, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(b) < sha256.Size {
		return nil, fail(ErrMalformed, "saved group")
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) {
		return nil, fail(ErrMalformed, "saved group is damaged")
	}
	r := &reader{b: body}
	if magic := r.take(len(stateMagic)); string(magic) != stateMagic {
		return nil, fail(ErrMalformed, "not a saved group")
	}
	if r.u8() != stateFormat {
		return nil, fail(ErrUnsupported, "format of the saved group")
	}
	g := &Group{cfg: c}
	for count := int(r.u8()); count > 0; count-- {
		e, err := loadEpoch(r)
		if err != nil {
			return nil, err
		}
		g.past = append(g.past, e)
	}
	if !r.done() || len(g.past) == 0 || len(g.past) > PastEpochs+1 {
		return nil, fail(ErrMalformed, "saved group")
	}
	g.now = g.past[len(g.past)-1]
	g.past = g.past[:len(g.past)-1]
	if err := g.now.own(c); err != nil {
		return nil, err
	}
	own, _ := g.now.member(g.now.self)
	g.cfg.Credential = own.Credential
	return g, nil
}

func loadEpoch(r *reader) (*epoch, error) {
	blob := r.vec(maxMessage)
	windows := map[uint32]*window{}
	for count := r.u32(); count > 0 && !r.bad; count-- {
		leaf := r.u32()
		windows[leaf] = &window{next: r.u64()}
	}
	if r.bad {
		return nil, fail(ErrMalformed, "saved group")
	}
	var lib *group.Group
	err := guard(ErrMalformed, "saved group", func() (err error) {
		lib, err = group.UnmarshalGroupState(blob)
		return err
	})
	if err != nil {
		return nil, err
	}
	e, err := newEpoch(lib)
	if err != nil {
		return nil, err
	}
	e.windows = windows
	return e, nil
}
