package link

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// macer computes header tags of one link. It is not safe for concurrent use:
// the reader and the writer have one each.
type macer struct {
	linkID string
	h      hash.Hash
	buf    []byte
	sum    [wire.MACSize]byte
}

func newMacer(a agreed) *macer {
	return &macer{linkID: a.linkID, h: hmac.New(sha256.New, a.key)}
}

// tag is valid until the next call.
func (m *macer) tag(h *wire.Header) []byte {
	m.buf = wire.MACPreimage(m.buf[:0], m.linkID, h)
	m.h.Reset()
	m.h.Write(m.buf)
	return m.h.Sum(m.sum[:0])
}

// policy says which frames of a link are signed and which tags are demanded.
type policy struct {
	typ     ConnType
	secured bool // there is a key
	strict  bool
}

// signs reports whether this side puts a tag on what it sends.
func (p policy) signs() bool { return p.secured && p.typ != Peer }

// A verdict on the tag of a received frame.
type verdict uint8

const (
	pass verdict = iota
	drop
	mustVerify
)

// judge decides by link type, key and kind (source: agntcy/slim crates/datapath
// header_mac): Peers never verify; without a key nothing may carry a tag; with
// a key a Publish must carry one, and a Subscribe too unless we are lax.
func (p policy) judge(kind wire.Kind, tagged bool) verdict {
	switch {
	case kind == wire.KindSubscriptionAck || p.typ == Peer:
		return pass
	case !p.secured && (tagged || p.strict):
		return drop
	case !p.secured:
		return pass
	case tagged:
		return mustVerify
	case kind == wire.KindPublish || p.strict:
		return drop
	}
	return pass
}

// admits applies the policy to a received frame, exactly as it came.
func (p policy) admits(m *macer, f *wire.Frame) bool {
	h := f.Header()
	if h == nil {
		return true
	}
	switch p.judge(f.Kind(), h.MAC.Present) {
	case pass:
		return true
	case mustVerify:
		return hmac.Equal(m.tag(h), h.MAC.Value)
	}
	return false
}
