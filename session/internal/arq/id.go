package arq

// MessageID numbers the published messages of one sender in one session.
type MessageID uint32

// MaxID is the largest published id. Ids run 1, 2, .., MaxID, 0, 1, ..
// (MAX_PUBLISH_ID of agntcy/slim crates/session/src/session_sender.rs).
const MaxID MessageID = 1<<31 - 1

// Next returns the id that follows id.
func Next(id MessageID) MessageID { return (id + 1) & MaxID }

// After reports whether a was published later than b, for two ids at most
// half the id space (2^30) apart.
func After(a, b MessageID) bool {
	d := (a - b) & MaxID
	return d != 0 && d <= 1<<30
}
