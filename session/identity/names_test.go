package identity

import (
	"errors"
	"testing"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

func TestNameRules(t *testing.T) {
	tests := []struct {
		name, subject, source, idOf string
		ownID, ownName              bool
	}{
		{"shared secret", "org/ns/app_Ab12Cd34", "org/ns/app", "org/ns/app_Ab12Cd34", true, true},
		{"shared secret, components of another", "org/ns/app_Ab12Cd34", "org/ns/bob", "org/ns/app_Ab12Cd34", true, false},
		{"id of another", "org/ns/app_Ab12Cd34", "org/ns/app", "org/ns/app_Ab12Cd35", false, false},
		{"JWT that spells its name", "org/ns/app", "org/ns/app", "org/ns/app", true, true},
		{"JWT that spells another name", "org/ns/app", "org/ns/bob", "org/ns/app", true, false},
		{"name that looks like a suffix", "org/ns/my_Ab12Cd34", "org/ns/my_Ab12Cd34", "org/ns/my_Ab12Cd34", true, true},
		{"underscore but no suffix", "org/ns/app_x", "org/ns/app", "org/ns/app_x", true, false},
		{"subject without a name", "alice", "org/ns/app", "alice", true, true},
		{"SPIFFE ID", "spiffe://example.org/a", "org/ns/app", "spiffe://example.org/a", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := name.MustParse(tt.source).WithID(name.IDOf(tt.idOf))
			for _, r := range []struct {
				rule NameRule
				want bool
			}{{OwnID, tt.ownID}, {OwnName, tt.ownName}} {
				for _, n := range []name.Name{source, {Prefix: source.Prefix, ID: source.ID}} {
					if err := r.rule(tt.subject, n); (err == nil) != r.want || err != nil && !errors.Is(err, ErrName) {
						t.Errorf("%v: %v, want allowed %v", n, err, r.want)
					}
				}
			}
		})
	}
}
