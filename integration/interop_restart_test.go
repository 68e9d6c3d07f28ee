package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/integration/realslim"
)

// A process of ours is killed again and again in the middle of a conversation
// with a real application, and goes on from its state file. The real one notices
// nothing: what it sends is received in order and confirmed once, what it
// receives is in order and nothing of it twice.
func TestInteropRestart(t *testing.T) {
	p := realslim.Require(t)
	for _, kind := range realslim.Kinds {
		for _, opener := range []realslim.Kind{kind, ours} {
			t.Run(fmt.Sprintf("%s opened by %s", kind, opener), func(t *testing.T) {
				t.Parallel() // it waits most of the time
				startDialogue(t, p, kind, opener).exchange(dialogueKills)
			})
		}
	}
}

// A process of ours that dies again and again before it says anything skips more
// keys than any receiver follows. It tells that from its state, and renews them.
func TestInteropRestartLoop(t *testing.T) {
	p := realslim.Require(t)
	for _, kind := range realslim.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel() // it waits most of the time
			d := startDialogue(t, p, kind, ours)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			d.awaitNoted(ctx, talkWindow) // it publishes no more before it gets something
			if err := d.hear(ctx, talkWindow); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second) // acknowledgements are stored within one; else runs would have something to say
			for range loopKills {
				d.awaitRun(ctx)
				if err := d.ours.restart(); err != nil {
					t.Fatal(err)
				}
			}
			d.exchange(0)
		})
	}
}

const (
	dialogueCount = 300 // messages in each direction
	dialogueKills = 8
	loopKills     = 20 // times 64 keys are more than 1024
)

// dialogue is a conversation of a real application and a mortal one of ours.
type dialogue struct {
	t    *testing.T
	ours *lives
	real *realslim.Session
	r    *rand.Rand
	// heard is what the real one received: number and run.
	heard [][2]int
}

func startDialogue(t *testing.T, p realslim.Peers, kind, opener realslim.Kind) *dialogue {
	t.Helper()
	const realName, ourName = mortalSpace + "real", mortalSpace + "ours"
	endpoint := startNode(t, p, kind, realslim.NodeOptions{Strict: true})
	app := p.StartApp(t, kind, realslim.AppOptions{Endpoint: endpoint, Name: realName, Strict: true, Accept: realslim.Drive})
	o := orders{Role: roleTalk, Endpoint: endpoint, Name: ourName, Count: dialogueCount}
	if opener == ours {
		o.Peer = realName
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := &dialogue{t: t, ours: newLives(t, o), r: rand.New(rand.NewPCG(seed, 0))}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if opener == ours {
		d.real, err = app.NextSession(ctx)
	} else if err = d.ours.awaitListening(); err == nil {
		d.real, err = app.Open(ctx, realslim.OpenOptions{Peer: ourName, MLS: true, MaxRetries: talkRetries, Interval: talkInterval})
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// exchange lets both talk while ours is killed.
func (d *dialogue) exchange(kills int) {
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- d.post(ctx) }()
	go func() { ended <- d.hear(ctx, dialogueCount) }()
	d.killAtRandom(ctx, kills)
	if err := errors.Join(<-ended, <-ended); err != nil {
		d.t.Fatal(err)
	}
	d.awaitNoted(ctx, 2*dialogueCount)
	// The last run may still be on its way up; and acknowledgements may have died
	// with the one before.
	if err := d.real.Settle(ctx); err != nil {
		d.t.Fatal(err)
	}
	d.awaitRun(ctx)
	closing := time.Now()
	if err := d.real.Close(ctx); err != nil {
		d.t.Fatal(err)
	}
	if err := d.ours.end(); err != nil {
		d.t.Error(err)
	}
	if took := time.Since(closing); took > talkRetries*talkInterval/2 {
		d.t.Errorf("the end took %v", took)
	}
	if errs := d.real.Errors(); len(errs) > 0 {
		d.t.Errorf("the real application noticed something: %q", errs)
	}
	received, published := d.journal(receivedFile), d.journal(publishedFile)
	d.sameSession(received)
	shown := d.checkReceived(received)
	unknown := d.checkHeard(published)
	if kills > 0 && d.ours.held == 0 {
		d.t.Error("the state held no payload after any kill: that none was visible proves nothing")
	}
	d.t.Logf("%d kills, %d messages each way; %d shown again, %d published again; payloads in the state after %d kills",
		d.ours.kills, dialogueCount, shown, unknown, d.ours.held)
}

// killAtRandom kills ours: twice while it starts, else after some messages.
func (d *dialogue) killAtRandom(ctx context.Context, kills int) {
	d.t.Helper()
	d.awaitNoted(ctx, 1)
	for kill := range kills {
		if kill%4 != 3 {
			d.awaitNoted(ctx, d.noted()+20+d.r.IntN(40))
		}
		time.Sleep(time.Duration(d.r.IntN(100)) * time.Millisecond)
		if err := d.ours.restart(); err != nil {
			d.t.Fatal(err)
		}
	}
}

// post sends the real one's messages, not too far ahead of what ours has noted.
func (d *dialogue) post(ctx context.Context) error {
	for n := 1; n <= dialogueCount; n++ {
		for d.got() < n-talkWindow {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("ours got %d messages of %d that were sent", d.got(), n-1)
			}
		}
		if err := d.real.Post(ctx, realslim.Message{Payload: fmt.Appendf(nil, "%s %d", confidential, n)}); err != nil {
			return err
		}
	}
	return nil
}

// hear notes what the real one receives, up to the number last.
func (d *dialogue) hear(ctx context.Context, last int) error {
	for {
		m, err := d.real.Recv(ctx, patience)
		if err != nil {
			return fmt.Errorf("after %d messages: %w", len(d.heard), err)
		}
		var n, run int
		if _, err := fmt.Sscanf(string(m.Payload), confidential+" %d %d", &n, &run); err != nil {
			return err
		}
		d.heard = append(d.heard, [2]int{n, run})
		if n == last {
			return nil
		}
	}
}

func (d *dialogue) journal(file string) []*journalRun {
	runs, err := readJournal(filepath.Join(d.ours.dir, file))
	if err != nil {
		d.t.Error(err)
	}
	return runs
}

func (d *dialogue) got() int { return lastOf(d.journal(receivedFile), gotOf) }

// noted is how far ours has come, in both directions together.
func (d *dialogue) noted() int {
	return lastOf(d.journal(receivedFile), confirmedOf) + lastOf(d.journal(publishedFile), publishedOf)
}

func (d *dialogue) awaitNoted(ctx context.Context, n int) {
	d.t.Helper()
	for d.noted() < min(n, 2*dialogueCount) {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			d.t.Fatalf("ours has come to %d messages, want %d; the real one has the errors %q", d.noted(), n, d.real.Errors())
		}
	}
}

// awaitRun waits until the run has its session.
func (d *dialogue) awaitRun(ctx context.Context) {
	d.t.Helper()
	for {
		if runs := d.journal(receivedFile); len(runs) > 0 && runs[len(runs)-1].run == d.ours.kills {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			d.t.Fatal("the last run has no session")
		}
	}
}

// sameSession: one session was opened, and every later run resumed it.
func (d *dialogue) sameSession(runs []*journalRun) {
	d.t.Helper()
	for i, r := range runs {
		if r.resumed != (i > 0) || r.session != d.real.ID() {
			d.t.Errorf("run %d: session %d, resumed %v; the real one has %d", r.run, r.session, r.resumed, d.real.ID())
		}
	}
}

// checkReceived: each run begins after what was confirmed and at or before what
// had been received, and within a run numbers count up. It returns how many
// messages were shown again.
func (d *dialogue) checkReceived(runs []*journalRun) (again int) {
	d.t.Helper()
	last, confirmed := 0, 0
	for _, r := range runs {
		for i, n := range r.got {
			first := i == 0
			if n != last+1 && (!first || n > last || n <= confirmed) {
				d.t.Errorf("run %d: message %d after %d was received and %d confirmed; first of the run: %v", r.run, n, last, confirmed, first)
			}
			if first {
				again += last + 1 - n
			}
			last = n
		}
		if len(r.confirmed) > 0 {
			confirmed = slices.Max(r.confirmed)
		}
	}
	if last != dialogueCount || confirmed != last {
		d.t.Errorf("the last message received is %d, the last confirmed %d, want %d", last, confirmed, dialogueCount)
	}
	return again
}

// checkHeard: numbers count up by one; one may come again only from a later run,
// if the earlier did not know that it was published. All that is known to be
// published came. It returns how many came again.
func (d *dialogue) checkHeard(runs []*journalRun) (again int) {
	d.t.Helper()
	known := map[[2]int]bool{} // number and run
	for _, r := range runs {
		for _, n := range r.published {
			known[[2]int{n, r.run}] = true
		}
	}
	var last [2]int
	for _, h := range d.heard {
		repeated := h[0] == last[0] && h[1] > last[1] && !known[last]
		if !repeated && (h[0] != last[0]+1 || h[1] < last[1]) {
			d.t.Errorf("the real one received %d of run %d after %d of run %d, known: %v", h[0], h[1], last[0], last[1], known[last])
		}
		if repeated {
			again++
		}
		delete(known, h)
		last = h
	}
	if len(known) > 0 {
		d.t.Errorf("%d messages never came, though they were published: %v", len(known), known)
	}
	if again > d.ours.kills {
		d.t.Errorf("%d numbers came again after %d kills", again, d.ours.kills)
	}
	return again
}
