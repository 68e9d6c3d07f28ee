package arq

import "testing"

// checkSender recounts everything the sender keeps as a running total.
func checkSender[P comparable, T any](t *testing.T, s *Sender[P, T]) {
	t.Helper()
	open, openBytes, keptBytes, asked, online, armed, held := 0, 0, 0, 0, 0, 0, 0
	for _, p := range s.peers {
		asked += len(p.asked)
		if p.online {
			online++
		}
		for seq := range p.asked {
			if seq <= p.floor || seq > s.newest {
				t.Fatalf("peer %v: asked %d outside %d..%d", p.id, seq, p.floor, s.newest)
			}
		}
	}
	for i := range s.slots {
		e := &s.slots[i]
		if e.kept {
			keptBytes += e.size
		}
		if e.size < 0 {
			t.Fatalf("message %d of %d bytes", e.seq, e.size)
		}
		waiting, behind := 0, 0
		for _, p := range s.peers {
			if e.seq > p.floor {
				behind++
			} else if p.acked.has(i) {
				t.Fatalf("peer %v: bit set at or below floor %d for %d", p.id, p.floor, e.seq)
			}
			if e.open && s.owes(p, e) {
				waiting++
			}
		}
		if e.behind != behind || e.waiting != waiting {
			t.Fatalf("message %d: behind %d, waiting %d, counted %d, %d", e.seq, e.behind, e.waiting, behind, waiting)
		}
		if e.open {
			open++
			openBytes += e.size
			if sent := e.seq+uint64(s.unsent) <= s.newest; sent != e.sent || !e.kept || e.sent && waiting == 0 {
				t.Fatalf("message %d open: sent %v (want %v), kept %v, waiting %d", e.seq, e.sent, sent, e.kept, waiting)
			}
		}
		held += len(e.held)
		for _, p := range e.held {
			if !e.open || !e.sent || !s.owes(p, e) {
				t.Fatalf("message %d is withheld from %v, which does not want it", e.seq, p.id)
			}
		}
		if e.kept && !e.open && e.behind == 0 {
			t.Fatalf("message %d kept for nobody", e.seq)
		}
		if s.timers.nodes[i+1].armed {
			armed++
			if !e.open || !e.sent {
				t.Fatalf("message %d: timer armed, open %v, sent %v", e.seq, e.open, e.sent)
			}
		} else if e.open && e.sent {
			t.Fatalf("message %d: no timer", e.seq)
		}
	}
	if open != s.open || openBytes != s.openBytes || keptBytes != s.keptBytes || asked != s.asked && !s.closed || online != s.online {
		t.Fatalf("totals open %d/%d bytes %d/%d kept %d/%d asked %d/%d online %d/%d", s.open, open, s.openBytes, openBytes, s.keptBytes, keptBytes, s.asked, asked, s.online, online)
	}
	if held != s.thrift.held || s.thrift.sealed > s.thrift.sent {
		t.Fatalf("withheld %d/%d, sealed %d of %d", s.thrift.held, held, s.thrift.sealed, s.thrift.sent)
	}
	if len(s.slots) > s.cfg.Ring {
		t.Fatalf("%d slots, ring %d", len(s.slots), s.cfg.Ring)
	}
	if n := listed(t, &s.timers); n != armed {
		t.Fatalf("%d timers listed, %d armed", n, armed)
	}
}

func checkReceiver[T any](t *testing.T, r *Receiver[T]) {
	t.Helper()
	if r.last > r.newest || r.newest-r.last > uint64(r.cfg.Hold) || r.newest-r.last > uint64(len(r.slots)) {
		t.Fatalf("window %d..%d, hold %d, slots %d", r.last, r.newest, r.cfg.Hold, len(r.slots))
	}
	bytes, open := 0, 0
	for i := range r.slots {
		s := &r.slots[i]
		bytes += s.size
		if s.size < 0 {
			t.Fatalf("message %d of %d bytes", s.seq, s.size)
		}
		if inside := s.seq > r.last && s.seq <= r.newest; inside != (s.state != vacant) {
			t.Fatalf("slot %d state %d in window %d..%d", s.seq, s.state, r.last, r.newest)
		}
		if s.state != vacant {
			open++
		}
		if armed := r.timers.nodes[i+1].armed; armed != (s.state == missing) {
			t.Fatalf("slot %d state %d, timer %v", s.seq, s.state, armed)
		}
	}
	if bytes != r.heldBytes || open != int(r.newest-r.last) {
		t.Fatalf("held bytes %d/%d, open %d/%d", r.heldBytes, bytes, open, r.newest-r.last)
	}
	if r.newest > r.last && r.at(r.last+1).state != missing {
		t.Fatalf("message %d is not missing and not delivered", r.last+1)
	}
	listed(t, &r.timers)
}

// listed walks the list, checks its order and returns its length.
func listed(t *testing.T, l *timers) (n int) {
	t.Helper()
	if len(l.nodes) == 0 {
		return 0
	}
	prev := int32(0)
	for i := l.nodes[0].next; i != 0; i = l.nodes[i].next {
		if l.nodes[i].prev != prev || !l.nodes[i].armed || prev != 0 && l.nodes[i].at.Before(l.nodes[prev].at) {
			t.Fatalf("timer list broken at %d", i)
		}
		prev = i
		n++
	}
	return n
}
