// Package route is the subscription table of a node: which connection wants
// which name, and to whom a message goes.
//
// It owns the rules of matching (anycast, fan-out, priority of link types,
// round-robin) and of subscription ids. It knows no links, no bytes and no
// acks, and does no I/O.
//
//	t := route.New(route.Limits{})
//	t.AddConn(1, route.Edge)
//	t.AddConn(2, route.Edge)
//	err := t.Subscribe(1, 77, bob.Key())
//	to, ok := t.MatchOne(bob.Service().Key(), 2)    // 1, true
//	all := t.MatchAll(bob.Service().Key(), 2, nil)  // [1]
//	t.DropConn(1)                                   // and all it had
//
// A Table is not safe for concurrent use. MatchOne moves a round-robin cursor
// and so counts as a write; MatchAll only reads.
package route
