package link

import (
	"net"
	"syscall"
)

// quickAck makes the kernel acknowledge each segment at once. Upstream does not
// set TCP_NODELAY: its second small write waits for our ACK, which Linux may
// hold back for 40 ms. The option is not lasting, so it is set again after
// every read.
func quickAck(nc net.Conn) net.Conn {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nc
	}
	q := &quickConn{Conn: nc, raw: raw, arm: armQuickAck}
	_ = raw.Control(q.arm)
	return q
}

type quickConn struct {
	net.Conn
	raw syscall.RawConn
	arm func(fd uintptr)
}

func armQuickAck(fd uintptr) {
	// Best effort: without it the link is slow, not wrong.
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
}

func (q *quickConn) Read(b []byte) (int, error) {
	n, err := q.Conn.Read(b)
	if n > 0 {
		_ = q.raw.Control(q.arm)
	}
	return n, err
}
