package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slimbridge/slimbridge/slimnode/wire"
)

const wsBuffer = 16 << 10

var wsPool = &sync.Pool{}

// wsCarrier is a WebSocket: one binary frame is one message.
type wsCarrier struct {
	ws      *websocket.Conn
	aborted atomic.Bool
}

func newWS(ws *websocket.Conn) *wsCarrier {
	ws.SetReadLimit(maxNegotiation)
	return &wsCarrier{ws: ws}
}

func (c *wsCarrier) recv() ([]byte, error) {
	typ, b, err := c.ws.ReadMessage()
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code == websocket.ClosePolicyViolation:
		// What an acceptor over gRPC says with PERMISSION_DENIED.
		return nil, fmt.Errorf("%w: %s", ErrDenied, closed.Text)
	case errors.As(err, &closed):
		return nil, io.EOF // 1006 too: real clients just close the connection
	case err != nil:
		return nil, err
	case typ != websocket.BinaryMessage:
		c.sayClose(websocket.CloseUnsupportedData, "")
		return nil, ErrText
	}
	return b, nil
}

func (c *wsCarrier) send(segs [][]byte) error {
	w, err := c.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	for _, s := range segs {
		if _, err := w.Write(s); err != nil {
			return err
		}
	}
	return w.Close()
}

func (c *wsCarrier) sayClose(code int, text string) {
	// A failure means that the connection is gone anyway.
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(lingerTimeout))
}

func (c *wsCarrier) finish() { c.sayClose(websocket.CloseNormalClosure, "") }

func (c *wsCarrier) kill() { c.abort(nil) }

func (c *wsCarrier) abort(cause error) {
	if c.aborted.Swap(true) {
		return
	}
	if st := status.Convert(cause); st.Code() == codes.PermissionDenied {
		c.sayClose(websocket.ClosePolicyViolation, st.Message())
	}
	c.ws.Close() //nolint:errcheck // nothing to do about it
}

func (c *wsCarrier) negotiated() { c.ws.SetReadLimit(wire.MaxRead) }

// dialWS upgrades nc, in which TLS is already done. ctx bounds the upgrade.
func dialWS(ctx context.Context, nc net.Conn, u *url.URL, agent string, headers map[string]string) (carrier, error) {
	use := func(context.Context, string, string) (net.Conn, error) { return nc, nil }
	d := websocket.Dialer{
		NetDialContext: use, NetDialTLSContext: use,
		ReadBufferSize: wsBuffer, WriteBufferSize: wsBuffer, WriteBufferPool: wsPool,
	}
	h := http.Header{"User-Agent": {agent}}
	for k, v := range headers {
		h.Set(k, v)
	}
	target := *u
	target.User = nil
	ws, resp, err := d.DialContext(ctx, target.String(), h)
	if err != nil {
		nc.Close() //nolint:errcheck // nothing to do about it
		switch {
		case resp == nil:
			return nil, err
		case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
			return nil, fmt.Errorf("%w: HTTP %s", ErrDenied, resp.Status)
		}
		return nil, fmt.Errorf("no SLIM WebSocket there: HTTP %s", resp.Status)
	}
	return newWS(ws), nil
}

// ServeWebSocket accepts links over WebSocket on exactly the given path ("" is
// "/"; others get 404) until Shutdown, which makes it return nil, or until l
// fails. It closes l. Cross-origin requests of browsers are refused.
func (s *Server) ServeWebSocket(l net.Listener, path string) error {
	if path == "" {
		path = "/"
	}
	up := websocket.Upgrader{
		HandshakeTimeout: upgradeTimeout, ReadBufferSize: wsBuffer, WriteBufferSize: wsBuffer, WriteBufferPool: wsPool,
	}
	srv := &http.Server{
		ReadHeaderTimeout: upgradeTimeout,
		IdleTimeout:       upgradeTimeout,
		MaxHeaderBytes:    maxHeaderList,
		ErrorLog:          log.New(io.Discard, "", 0), // failed handshakes of strangers
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path {
				http.NotFound(w, r)
				return
			}
			s.upgrade(&up, w, r)
		}),
	}
	stop := func() {
		srv.Close() //nolint:errcheck // closes l; upgraded connections are ours
		s.wg.Wait()
	}
	if !s.addListener(l, stop) {
		return nil
	}
	err := srv.Serve(s.wrap(l, "http/1.1"))
	return s.served(err)
}

func (s *Server) upgrade(up *websocket.Upgrader, w http.ResponseWriter, r *http.Request) {
	auth := r.Header.Get("Authorization")
	if token := r.URL.Query().Get("token"); auth == "" && token != "" {
		auth = "Bearer " + token // as upstream
	}
	if s.authorize(r.Context(), auth) != nil {
		http.Error(w, "not authorized", http.StatusUnauthorized)
		return
	}
	if s.full() {
		http.Error(w, "too many links", http.StatusServiceUnavailable)
		return
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	ca := newWS(ws)
	if !s.start(ca, r.RemoteAddr) {
		ca.abort(nil)
	}
}
