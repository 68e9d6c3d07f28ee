package session

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/slimbridge/slimbridge/session/internal/control"
)

const (
	// Nothing of a step that others, or the application, will rely on gets out
	// before the step is stored. What is not relied on is stored keepWithin
	// later, or together with something that is.
	keepWithin = time.Second
	// keepBatch is how many received messages are stored together.
	keepBatch = 64
)

// keeper stores one session in Config.State. Its driver owns it; state and
// prefix never change.
type keeper struct {
	state  State
	prefix string // of the keys of all records

	known  bool // the session is stored
	over   bool // when it was stored last
	unread bool // it is over, and was counted as unread
	stored map[string]bool
	marks  uint64 // the last one given to a received message
	sealed int    // messages encrypted since the last save

	waiting []step // that are not stored yet
	taken   []chan<- struct{}
	dirty   time.Time // since when something is not stored that nobody relies on; zero: nothing is
}

// step is what a step of the core wants done.
type step struct {
	out   control.Output
	marks uint64 // of the first message to deliver; 0: none of them is stored
}

// mark is that of the i-th message to deliver.
func (s *step) mark(k *keeper, i int) mark {
	if s.marks == 0 {
		return mark{}
	}
	return mark{k, s.marks + uint64(i)}
}

func newKeeper(st State) *keeper {
	if st == nil {
		return nil
	}
	var token [8]byte
	rand.Read(token[:])
	return &keeper{state: st, prefix: recordRoot + hex.EncodeToString(token[:]) + "/", stored: map[string]bool{}}
}

func (k *keeper) inKey(mark uint64) string { return k.prefix + "in/" + strconv.FormatUint(mark, 10) }

// due is when to save at the latest, zero if nothing is to be saved.
func (k *keeper) due() time.Time {
	if k == nil || k.dirty.IsZero() {
		return time.Time{}
	}
	return k.dirty.Add(keepWithin)
}

func (k *keeper) mustSave(now time.Time) bool {
	for i := range k.waiting {
		if k.waiting[i].out.ReliedOn() {
			return true
		}
	}
	return !k.dirty.IsZero() && !now.Before(k.due())
}

// delivering is how many messages wait to be stored for the application, and
// their bytes.
func (k *keeper) delivering() (n, bytes int) {
	if k == nil {
		return 0, 0
	}
	for i := range k.waiting {
		for j := range k.waiting[i].out.Deliver {
			n++
			bytes += len(k.waiting[i].out.Deliver[j].Msg.Payload)
		}
	}
	return n, bytes
}

// keepUp is called after every event. It stores what must be stored before it
// gets out, and lets it out.
func (d *driver) keepUp() {
	k := d.keep
	for k != nil && !d.over {
		now := time.Now()
		switch {
		case k.mustSave(now):
			d.save()
		case len(k.waiting) > 0:
			if k.known && k.dirty.IsZero() {
				k.dirty = now
			}
			d.letOut()
		default:
			return
		}
	}
}

// maySeal makes sure that a message may be encrypted. False: what was encrypted
// before could not be stored.
func (d *driver) maySeal() bool {
	k := d.keep
	if k == nil {
		return true
	}
	if k.sealed == control.SkipAhead && !d.over {
		d.save()
	}
	if k.sealed == control.SkipAhead {
		return false
	}
	k.sealed++
	return true
}

// letOut does what the steps wanted done; new ones may come of that.
func (d *driver) letOut() {
	waiting := d.keep.waiting
	d.keep.waiting = nil
	for _, s := range waiting {
		d.carry(s)
	}
}

// save stores the session as it is, and lets out what waited for that. A session
// that cannot be stored ends: going on would break the promise.
func (d *driver) save() {
	k := d.keep
	if err := d.store(); err != nil {
		// It is not known what is stored, so nothing can be built on it.
		k.dirty = time.Time{}
		d.finish(&Error{Code: CodeState, Peer: d.kind.peer(), Err: err})
		return
	}
	k.sealed, k.dirty = 0, time.Time{}
	for _, done := range k.taken {
		close(done)
	}
	k.taken = nil
	d.letOut()
}

// lastSave stores what nobody relies on yet, when the app ends and the session
// is to go on later.
func (d *driver) lastSave() {
	if d.keep == nil || d.keep.dirty.IsZero() {
		return
	}
	if err := d.store(); err != nil {
		d.app.log.Warn().Err(err).Uint32("session", uint32(d.id)).Msg("the last changes of the session are not stored")
	}
}

// store writes the session as it is.
func (d *driver) store() error {
	k := d.keep
	changes, err := d.changes()
	if err != nil || len(changes) == 0 {
		return err
	}
	if err := k.state.Write(changes); err != nil {
		return err
	}
	k.known = true
	info, told := changes[k.prefix+"info"]
	if !k.over || told && info == nil {
		return nil
	}
	if !k.unread {
		k.unread = true
		d.unread().Add(1)
	}
	if !d.inQueue.finish() {
		return nil
	}
	d.unread().Add(-1)
	// The last message was confirmed meanwhile.
	return k.state.Write(map[string][]byte{k.prefix + "info": nil})
}

// changes is what differs from what is stored. Received messages get their
// marks.
func (d *driver) changes() (map[string][]byte, error) {
	k := d.keep
	changes := map[string][]byte{}
	core, err := d.core.Save()
	if err != nil {
		return nil, err
	}
	k.over = core == nil
	if err := d.received(changes); err != nil {
		return nil, err
	}
	switch {
	case core != nil:
		changes[k.prefix+"state"] = core
	case k.known:
		changes[k.prefix+"state"] = nil
	case len(changes) == 0:
		return nil, nil // not open yet
	}
	if err := d.keptMessages(changes, core != nil); err != nil {
		return nil, err
	}
	switch {
	case core == nil && d.inQueue.confirmed():
		changes[k.prefix+"info"] = nil
	case !k.known:
		if changes[k.prefix+"info"], err = json.Marshal(d.kind.info()); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// received adds the messages that the application is to get.
func (d *driver) received(changes map[string][]byte) (err error) {
	k := d.keep
	for i := range k.waiting {
		s := &k.waiting[i]
		s.marks = k.marks + 1
		for j := range s.out.Deliver {
			k.marks++
			if changes[k.inKey(k.marks)], err = deliveryRecord(&s.out.Deliver[j]); err != nil {
				return err
			}
			d.inQueue.expectConfirmation(k.marks, len(changes[k.inKey(k.marks)]))
		}
	}
	return nil
}

// keptMessages adds the messages that the core keeps and the store has not, and
// those that the store has in vain.
func (d *driver) keptMessages(changes map[string][]byte, lives bool) (err error) {
	k := d.keep
	now := make(map[string]bool, len(k.stored))
	if lives {
		for key, msg := range d.core.Kept() {
			now[key] = true
			if k.stored[key] {
				continue
			}
			if changes[k.prefix+key], err = messageRecord(&msg); err != nil {
				return err
			}
		}
	}
	for key := range k.stored {
		if !now[key] {
			changes[k.prefix+key] = nil
		}
	}
	k.stored = now
	return nil
}

// mark tells a received message that is stored. The zero mark is of one that is
// not.
type mark struct {
	keep *keeper
	n    uint64
}

// Confirm says that a received message was dealt with. Where the app keeps its
// sessions ([Config].State) an unconfirmed message is shown again after a
// restart, a confirmed one never; confirm replies too. 1024 unconfirmed
// messages, or 32 MiB, are the limit: beyond it nothing is taken from the peer.
// It returns when that is stored, also after the session is over; the error is
// that of the State. Without State it does nothing.
func (c *conversation) Confirm(m Message) error {
	if c.keep == nil || m.mark.keep != c.keep {
		return nil
	}
	return c.confirm(m.mark.n)
}

func (c *conversation) confirm(n uint64) error {
	if !c.inQueue.unconfirmed(n) {
		return nil
	}
	err := c.keep.state.Write(map[string][]byte{c.keep.inKey(n): nil})
	if err == nil && c.inQueue.confirm(n) {
		c.unread().Add(-1)
		err = c.keep.state.Write(map[string][]byte{c.keep.prefix + "info": nil})
	}
	if err != nil {
		return &Error{Code: CodeState, Peer: c.kind.peer(), Err: err}
	}
	return nil
}

// unread is the counter of sessions, or groups, that are over but not confirmed.
func (c *conversation) unread() *atomic.Int64 {
	if c.kind.multicast() {
		return &c.app.unread.groups
	}
	return &c.app.unread.sessions
}

// drop forgets a session that could not be resumed.
func (c *conversation) drop() error {
	k := c.keep
	changes := map[string][]byte{k.prefix + "info": nil, k.prefix + "state": nil}
	for key := range k.stored {
		changes[k.prefix+key] = nil
	}
	for _, n := range c.inQueue.drop() {
		changes[k.inKey(n)] = nil
	}
	if err := k.state.Write(changes); err != nil {
		return &Error{Code: CodeState, Peer: c.kind.peer(), Err: err}
	}
	return nil
}
