package statefile

import "github.com/slimbridge/slimbridge/session/identity"

// A File is where identities are kept.
var _ identity.Store = (*File)(nil)
