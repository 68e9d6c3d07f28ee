package name

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"strings"

	"github.com/zeebo/xxh3"
)

// ID is the 128-bit id of an instance, an unsigned integer.
type ID struct {
	Hi, Lo uint64
}

// Any is the id that means "whichever instance": 2^128-1. It is called NULL in
// upstream's texts and is always sent explicitly.
var Any = ID{Hi: ^uint64(0), Lo: ^uint64(0)}

// reservedFrom is the first reserved id, 2^128-51.
var reservedFrom = ID{Hi: ^uint64(0), Lo: ^uint64(0) - 50}

// Reserved reports whether the id is one of the top 51 values, which no app
// may carry. Only [Any] of them has a meaning today.
func (id ID) Reserved() bool {
	return id.Hi == reservedFrom.Hi && id.Lo >= reservedFrom.Lo
}

// IDOf is the id of the app whose identity provider has the given id string
// (shared secret: "org/ns/app_suffix"; JWT: the subject): XXH3-128 with seed 0,
// moved out of the reserved range. Every peer can recompute it.
func IDOf(identity string) ID {
	h := xxh3.HashString128(identity)
	id := ID{Hi: h.Hi, Lo: h.Lo}
	if id.Reserved() { // modulo 2^128-51
		id = ID{Lo: id.Lo - reservedFrom.Lo}
	}
	return id
}

// ChannelIDs derives the data and control ids of a group channel from its
// moderator's identity id and the channel's three strings (source: agntcy/slim
// crates/session). ok is false if no distinct pair was found, which does not
// happen in practice.
func ChannelIDs(moderator string, channel Name) (data, control ID, ok bool) {
	base := moderator + "/" + channel.Path() + "/"
	for salt := range uint64(10) {
		data, control = channelID(base+"data", salt), channelID(base+"control", salt)
		if data != control {
			return data, control, true
		}
	}
	return ID{}, ID{}, false
}

func channelID(s string, salt uint64) ID {
	h := xxh3.HashString128Seed(s, salt)
	id := ID{Hi: h.Hi, Lo: h.Lo}
	if id.Reserved() { // (id mod 2^128-52) + 1
		lo, _ := bits.Sub64(id.Lo, reservedFrom.Lo-1, 0)
		id = ID{Lo: lo + 1}
	}
	return id
}

// String is the UUID text of the big-endian value; [Any] prints as
// NULL_COMPONENT, as upstream prints it.
func (id ID) String() string {
	if id == Any {
		return "NULL_COMPONENT"
	}
	s := fmt.Sprintf("%016x%016x", id.Hi, id.Lo)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// ParseID reads a UUID in any usual spelling (hyphenated, simple, braced,
// urn:uuid:) or NULL_COMPONENT.
func ParseID(s string) (ID, error) {
	if s == "NULL_COMPONENT" {
		return Any, nil
	}
	t := strings.TrimPrefix(strings.ToLower(s), "urn:uuid:")
	if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
		t = t[1 : len(t)-1]
	}
	if len(t) == 36 && t[8] == '-' && t[13] == '-' && t[18] == '-' && t[23] == '-' {
		t = t[:8] + t[9:13] + t[14:18] + t[19:23] + t[24:]
	}
	b, err := hex.DecodeString(t)
	if err != nil || len(b) != 16 {
		return ID{}, fmt.Errorf("id %q: want a UUID", s)
	}
	var id ID
	for i := range 8 {
		id.Hi = id.Hi<<8 | uint64(b[i])
		id.Lo = id.Lo<<8 | uint64(b[8+i])
	}
	return id, nil
}
