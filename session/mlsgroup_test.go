package session

import (
	"errors"
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/internal/control"
)

// groupFor makes the MLS side of an app with an identity of its own.
func groupFor(t *testing.T, base, moderator string, now time.Time) *mlsGroup {
	t.Helper()
	secret, err := identity.NewSecret([]byte("mlsgroup-test-secret-0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	me, err := identity.NewSharedSecret(secret, base)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newMLSGroup(me, me, moderator, now)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// admit lets a moderator's side add g.
func admit(t *testing.T, moderator, g *mlsGroup, now time.Time) (commit []byte) {
	t.Helper()
	pack, err := g.KeyPackage(now)
	if err != nil {
		t.Fatal(err)
	}
	commit, welcome, err := moderator.Commit(control.Change{
		Add: [][]byte{pack}, Subject: g.provider.Subject(), Key: g.provider.Signer().Public(),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Join(welcome, now); err != nil {
		t.Fatal(err)
	}
	return commit
}

// TestOnlyTheModeratorCommits: MLS lets any member commit, SLIM only one. A
// node could put another member's commit into a command of the moderator whose
// payload is not signed.
func TestOnlyTheModeratorCommits(t *testing.T) {
	now := time.Now()
	moderator := groupFor(t, "org/ns/moderator", "", now)
	if err := moderator.Create(now); err != nil {
		t.Fatal(err)
	}
	subject := moderator.provider.Subject()
	bob, mallory := groupFor(t, "org/ns/bob", subject, now), groupFor(t, "org/ns/mallory", subject, now)
	admit(t, moderator, bob, now)
	if err := bob.Process(admit(t, moderator, mallory, now), now); err != nil {
		t.Fatal(err)
	}
	epoch := bob.Epoch()
	commit, _, err := mallory.Commit(control.Change{Refresh: true}, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Process(commit, now); !errors.Is(err, errCommitter) || bob.Epoch() != epoch {
		t.Errorf("commit of a member: %v, epoch %d", err, bob.Epoch())
	}
	if commit, _, err = moderator.Commit(control.Change{Refresh: true}, now); err != nil {
		t.Fatal(err)
	}
	if err := bob.Process(commit, now); err != nil || bob.Epoch() != epoch+1 {
		t.Errorf("commit of the moderator: %v, epoch %d", err, bob.Epoch())
	}
}

// TestKeyPackagesOfOneSession: the token stays the same until it is old.
func TestKeyPackagesOfOneSession(t *testing.T) {
	now := time.Now().Truncate(time.Second) // as tokens tell it
	g := groupFor(t, "org/ns/bob", "someone", now)
	token := func(at time.Time) string {
		if _, err := g.KeyPackage(at); err != nil {
			t.Fatal(err)
		}
		return string(g.cfg.Credential)
	}
	first := token(now)
	if token(now.Add(control.TokenRenewal)) != first {
		t.Error("the token was renewed early")
	}
	if token(now.Add(control.TokenRenewal+time.Second)) == first {
		t.Error("an old token was not renewed")
	}
}

// TestMembersTellTheirTokens: when the token of a leaf was issued and expires,
// which decides whom the real library lets in.
func TestMembersTellTheirTokens(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	moderator := groupFor(t, "org/ns/moderator", "", now)
	if err := moderator.Create(now); err != nil {
		t.Fatal(err)
	}
	admit(t, moderator, groupFor(t, "org/ns/bob", moderator.provider.Subject(), now), now)
	members := moderator.Members()
	if len(members) != 2 {
		t.Fatalf("%d members", len(members))
	}
	for _, m := range members {
		if !m.IssuedAt.Equal(now) || !m.Expires.Equal(now.Add(identity.TokenLife)) {
			t.Errorf("%s: issued %v, expires %v; now %v", m.Subject, m.IssuedAt, m.Expires, now)
		}
	}
}

// TestLoadedKeepsItsToken: after a restart the key packages of a session have the
// token of its leaf, by which others know that it is the same session.
func TestLoadedKeepsItsToken(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	moderator := groupFor(t, "org/ns/moderator", "", now)
	if err := moderator.Create(now); err != nil {
		t.Fatal(err)
	}
	bob := groupFor(t, "org/ns/bob", moderator.provider.Subject(), now)
	admit(t, moderator, bob, now)
	token := string(bob.cfg.Credential)
	state, err := bob.Save()
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(10 * time.Minute)
	again, err := newMLSGroup(bob.provider, bob.verifier, bob.moderator, later)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Load(state); err != nil {
		t.Fatal(err)
	}
	if _, err := again.KeyPackage(later); err != nil || string(again.cfg.Credential) != token {
		t.Errorf("the key package has another token (%v)", err)
	}
	if _, err := again.KeyPackage(now.Add(control.TokenRenewal + time.Second)); err != nil || string(again.cfg.Credential) == token {
		t.Errorf("the token was not renewed when it was old (%v)", err)
	}
}

// TestPairStaysPair: a peer that lets us in anew cannot lead us into a group with
// somebody else; we stay in the group we are in.
func TestPairStaysPair(t *testing.T) {
	now := time.Now()
	moderator := func(p identity.Provider) *mlsGroup {
		g := groupFor(t, "org/ns/moderator", "", now)
		if p != nil {
			g.provider = p
			g.cfg.Signer = p.Signer()
		}
		if err := g.Create(now); err != nil {
			t.Fatal(err)
		}
		return g
	}
	first := moderator(nil)
	for _, tt := range []struct {
		name   string
		into   *mlsGroup
		before func(*mlsGroup) // the Welcome
		want   error
	}{
		{"the peer's new group", moderator(first.provider), func(*mlsGroup) {}, nil},
		{"of somebody else", moderator(nil), func(*mlsGroup) {}, errOtherPeer},
		{"of three", moderator(first.provider), func(g *mlsGroup) {
			admit(t, g, groupFor(t, "org/ns/mallory", first.provider.Subject(), now), now)
		}, errOtherPeer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peer := moderator(first.provider)
			bob := groupFor(t, "org/ns/bob", first.provider.Subject(), now)
			inPair(bob)
			admit(t, peer, bob, now)
			tt.before(tt.into)
			pack, err := bob.KeyPackage(now)
			if err != nil {
				t.Fatal(err)
			}
			_, welcome, err := tt.into.Commit(control.Change{Add: [][]byte{pack}, Subject: bob.provider.Subject(), Key: bob.provider.Signer().Public()}, now)
			if err != nil {
				t.Fatal(err)
			}
			if err := bob.Join(welcome, now); !errors.Is(err, tt.want) {
				t.Fatalf("join: %v, want %v", err, tt.want)
			}
			with := tt.into
			if tt.want != nil {
				with = peer
			}
			sealed, err := bob.Encrypt([]byte("text"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := with.Decrypt(sealed); err != nil || string(plain.Payload) != "text" {
				t.Errorf("bob is in another group: %v", err)
			}
		})
	}
}
