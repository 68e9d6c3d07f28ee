package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/slimbridge/slimbridge/slimnode/name"
)

// Why an operation on a group failed. Errors of MLS come as they are.
var (
	ErrNobody        = errors.New("nobody answers for the name")
	ErrUnanswered    = errors.New("the invited one stopped answering while joining")
	ErrAlreadyMember = errors.New("already a member of the group, or an instance of the same service or of the same identity is")
	ErrNotMember     = errors.New("not a member of the group")
	ErrSelf          = errors.New("the moderator can neither invite nor remove itself")
	ErrFull          = errors.New("the group is full")
	ErrBusy          = errors.New("another change of the group is pending")
	ErrNotModerator  = errors.New("only the moderator changes the group")
	ErrNotOpen       = errors.New("the session is not open")
	ErrLeft          = errors.New("the member left meanwhile")
	ErrEnded         = errors.New("the session ended first")
	ErrRejoin        = errors.New("the moderator did not let us in again")
	errNoKeyPackage  = errors.New("no key package in the join reply")
)

// TokenLife is the age from which on members running the real library refuse a
// leaf with a token made from a shared secret: a commit that touches the leaf,
// and a tree that contains it. Tokens of other kinds say when they expire.
const TokenLife = time.Hour

// TokenRenewal is the age from which on a token is replaced where a leaf is.
const TokenRenewal = TokenLife / 2

// StaleError is the refusal of a change that members running the real library
// could not follow, because of the age of the token in one member's leaf.
// Nothing was changed.
type StaleError struct {
	// Member has the old leaf; it may be ourselves.
	Member  name.Name
	Subject string
	Age     time.Duration
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("the identity token of member %s is %v old and has expired, which members running the real library do not accept: "+
		"remove it by force and invite it again (others running the real library are then lost and must be invited again too), or open a new group",
		e.Member.Path(), e.Age.Round(time.Second))
}
