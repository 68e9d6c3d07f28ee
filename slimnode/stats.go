package slimnode

import (
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"github.com/slimbridge/slimbridge/slimnode/link"
	"github.com/slimbridge/slimbridge/slimnode/wire"
)

// DropReason says why a message was not forwarded.
type DropReason uint8

// Reasons that the node itself finds; [Stats] adds those of the links.
const (
	DropTTL      DropReason = iota // ttl used up
	DropNoMatch                    // nobody subscribed the destination, or only the sender
	DropTooLarge                   // above wire.MaxMessage as sent on
	DropGone                       // the link of the target ended
	dropReasons
)

// String describes the reason in a few words.
func (r DropReason) String() string {
	switch r {
	case DropTTL:
		return "ttl used up"
	case DropNoMatch:
		return "no subscriber"
	case DropTooLarge:
		return "too large to be sent on"
	case DropGone:
		return "target gone"
	}
	return "unknown"
}

// Stats is a reading of the counters since [New]; the first three are current
// values.
type Stats struct {
	Conns         int // links, accepted and dialled
	Subscriptions int
	Names         int // different name+id pairs with a subscriber

	Received     uint64 // messages that passed the checks of their link
	Forwarded    uint64 // Publishes queued to a target, one per target
	Subscribes   uint64
	Unsubscribes uint64
	Rejected     uint64 // of the two above, those answered with success=false
	Ignored      uint64 // acks and late link messages

	DroppedTTL      uint64
	DroppedNoMatch  uint64
	DroppedTooLarge uint64
	DroppedGone     uint64
	DroppedInvalid  uint64 // broke a rule of the data plane, such as an empty message
	DroppedMAC      uint64 // header MAC absent or wrong

	RefusedConns uint64 // above Config.MaxConns
	StuckConns   uint64 // ended after Config.StuckTimeout
}

type counters struct {
	received, forwarded, ignored       atomic.Uint64
	subscribes, unsubscribes, rejected atomic.Uint64
	refused, stuck                     atomic.Uint64
	drops                              [dropReasons]atomic.Uint64
	invalid, badMAC                    atomic.Uint64 // of ended links
}

// add takes over the counters of a link that ended.
func (c *counters) add(s link.Stats) {
	c.invalid.Add(s.DroppedInvalid)
	c.badMAC.Add(s.DroppedMAC)
	c.ignored.Add(s.Ignored)
}

// Stats reads the counters. They are not read at one instant.
func (n *Node) Stats() Stats {
	c := &n.counts
	s := Stats{
		Received: c.received.Load(), Forwarded: c.forwarded.Load(), Ignored: c.ignored.Load(),
		Subscribes: c.subscribes.Load(), Unsubscribes: c.unsubscribes.Load(), Rejected: c.rejected.Load(),
		DroppedTTL: c.drops[DropTTL].Load(), DroppedNoMatch: c.drops[DropNoMatch].Load(),
		DroppedTooLarge: c.drops[DropTooLarge].Load(), DroppedGone: c.drops[DropGone].Load(),
		RefusedConns: c.refused.Load(), StuckConns: c.stuck.Load(),
	}
	n.table.RLock()
	defer n.table.RUnlock()
	s.DroppedInvalid, s.DroppedMAC = c.invalid.Load(), c.badMAC.Load() // moved under the lock
	s.Conns, s.Subscriptions, s.Names = len(n.conns), n.routes.Len(), n.routes.Names()
	for _, cn := range n.conns {
		l := cn.link.Stats()
		s.DroppedInvalid += l.DroppedInvalid
		s.DroppedMAC += l.DroppedMAC
		s.Ignored += l.Ignored
	}
	return s
}

// drop counts, and warns at most once per reason and interval.
func (n *Node) drop(r DropReason, from *conn, f *wire.Frame) {
	total := n.counts.drops[r].Add(1)
	if !n.warn.allow(r, time.Now()) {
		return
	}
	h := f.Header()
	src, dst := h.Source.Name(), h.Destination.Name()
	n.warn.log.Warn().Str("reason", r.String()).Uint64("conn", uint64(from.id)).Stringer("kind", f.Kind()).
		Str("source", oneLine(src.String())).Str("destination", oneLine(dst.String())).
		Int("bytes", f.Size()).Uint64("total", total).Msg("message dropped")
}

// warnEvery is the pause between two log lines for one reason.
const warnEvery = 10 * time.Second

// limiter lets one line per reason and interval through.
type limiter struct {
	log  zerolog.Logger
	next [dropReasons]atomic.Int64 // UnixNano
}

func (l *limiter) allow(r DropReason, now time.Time) bool {
	next := l.next[r].Load()
	return now.UnixNano() >= next && l.next[r].CompareAndSwap(next, now.Add(warnEvery).UnixNano())
}

// maxLogged bounds text of peers in log lines, in bytes.
const maxLogged = 200

// oneLine makes text of a peer fit for a log line.
func oneLine(s string) string {
	if len(s) > maxLogged {
		s = s[:maxLogged] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
