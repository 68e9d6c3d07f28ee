package link

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// grpcStream is an accepted OpenChannel stream. Only the return of its handler
// ends a stream, so abort releases the handler, which waits.
type grpcStream struct {
	stream  grpc.ServerStream
	conn    net.Conn // under the stream, maybe shared with other streams; nil if unknown
	aborted atomic.Bool
	release chan error // bound 1: the status of the stream
}

func (g *grpcStream) recv() ([]byte, error) {
	var b []byte
	err := g.stream.RecvMsg(&b)
	if status.Code(err) == codes.Canceled { // the client closed its connection
		err = io.EOF
	}
	return b, err
}

func (g *grpcStream) send(segs [][]byte) error { return g.stream.SendMsg(segs) }

func (g *grpcStream) finish() { g.abort(nil) } // gRPC sends the rest before the status

func (g *grpcStream) abort(cause error) {
	if !g.aborted.Swap(true) {
		g.release <- cause
	}
}

func (g *grpcStream) kill() {
	g.abort(nil)
	if g.conn != nil {
		g.conn.Close() //nolint:errcheck // nothing to do about it
	}
}

func (g *grpcStream) negotiated() {}

// connCreds are no credentials; they hand the connection to the stream's handler.
type connCreds struct {
	credentials.TransportCredentials
}

type connInfo struct {
	credentials.CommonAuthInfo
	conn net.Conn
}

func (connInfo) AuthType() string { return "insecure" }

func (connCreds) ServerHandshake(nc net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nc, connInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, nc}, nil
}

func (c connCreds) Clone() credentials.TransportCredentials {
	return connCreds{c.TransportCredentials.Clone()}
}

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(connCreds{insecure.NewCredentials()}),
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(wire.MaxRead),
		grpc.InitialWindowSize(serverWindow),
		grpc.InitialConnWindowSize(2*serverWindow),
		grpc.MaxHeaderListSize(maxHeaderList),
		grpc.MaxConcurrentStreams(streamsPerConn),
		grpc.ConnectionTimeout(upgradeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 120 * time.Second, Timeout: 20 * time.Second,
			MaxConnectionIdle: time.Minute, // without a stream
		}),
	)
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: pb.DataPlaneService_ServiceDesc.ServiceName,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: openChannel.StreamName, Handler: s.openChannel, ServerStreams: true, ClientStreams: true,
		}},
	}, s)
	return g
}

func (s *Server) openChannel(_ any, stream grpc.ServerStream) error {
	// The real client sends nothing before it has the response headers.
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	ctx := stream.Context()
	if err := s.authorize(ctx, firstValue(ctx, "authorization")); err != nil {
		return status.Error(codes.Unauthenticated, "not authorized")
	}
	addr := "gRPC client"
	g := &grpcStream{stream: stream, release: make(chan error, 1)}
	if p, ok := peer.FromContext(ctx); ok {
		addr = p.Addr.String()
		if info, ok := p.AuthInfo.(connInfo); ok {
			g.conn = info.conn
		}
	}
	if !s.start(g, addr) {
		return status.Error(codes.ResourceExhausted, "too many links")
	}
	select {
	case err := <-g.release:
		if status.Code(err) == codes.PermissionDenied {
			return err
		}
	case <-ctx.Done(): // the connection is gone
	}
	return nil
}

func firstValue(ctx context.Context, key string) string {
	if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// ServeGRPC accepts links over gRPC from l until Shutdown, which makes it
// return nil, or until l fails. It closes l.
func (s *Server) ServeGRPC(l net.Listener) error {
	g := s.newGRPC()
	stop := func() {
		l.Close() //nolint:errcheck // it may be closed already
		s.wg.Wait()
		hard := time.AfterFunc(lingerTimeout, g.Stop)
		defer hard.Stop()
		g.GracefulStop() // lets the final status of the streams out
	}
	if !s.addListener(l, stop) {
		return nil
	}
	err := g.Serve(s.wrap(l, "h2"))
	return s.served(err)
}
