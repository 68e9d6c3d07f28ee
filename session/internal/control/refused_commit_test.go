package control

import (
	"fmt"
	"testing"
	"time"
)

// refusing is an MLS that takes no commit.
type refusing struct{ *fakeMLS }

func (refusing) Process([]byte, time.Time) error { return errFake }

// A responder that refuses a commit refuses it whenever it comes again: it must
// ask to be let in anew. The initiator, which goes on sending it, tells of the
// new epoch by nothing else.
func TestRefusedCommitLeadsToRejoin(t *testing.T) {
	p := newPair(t, pairOptions{mls: true, retries: 10, rotateMsgs: 3})
	p.b.cfg.MLS = refusing{p.b.mls}
	p.open()
	for i := range 3 {
		p.publish(p.a, fmt.Sprint("m", i))
		p.run(20 * time.Millisecond)
	}
	p.run(20 * time.Second)
	if a, b := p.a.m.Epoch(), p.b.m.Epoch(); a != b || a < 2 {
		t.Errorf("bob is in epoch %d, alice in %d", b, a)
	}
}
