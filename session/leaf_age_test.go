package session

import (
	"testing"
	"time"

	"github.com/slimbridge/slimbridge/session/identity"
	"github.com/slimbridge/slimbridge/session/internal/control"
)

// cachedTokens hands out tokens that it has had for a while.
type cachedTokens struct {
	identity.Provider
	age time.Duration
}

func (c cachedTokens) Token(now time.Time) (string, error) { return c.Provider.Token(now.Add(-c.age)) }

// A token that was old when we got it is not used for the next leaf too.
func TestLeafTokenAgesFromItsIssue(t *testing.T) {
	secret, err := identity.NewSecret([]byte("a secret of at least thirty-two bytes"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.NewSharedSecret(secret, "org/ns/app")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, age := range []time.Duration{0, control.TokenRenewal + time.Minute} {
		g, err := newMLSGroup(cachedTokens{id, age}, id, "", now)
		if err != nil {
			t.Fatal(err)
		}
		first := string(g.cfg.Credential)
		if _, err := g.KeyPackage(now.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if renewed := string(g.cfg.Credential) != first; renewed != (age > 0) {
			t.Errorf("token of age %v: renewed %v", age, renewed)
		}
	}
}
