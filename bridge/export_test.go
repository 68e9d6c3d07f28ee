package bridge

import "time"

// HurryForTest shortens the times a child is given to end.
func (c *Command) HurryForTest(afterClose, afterTerm time.Duration) {
	c.graces = graces{afterClose, afterTerm}
}
