package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/slimbridge/slimbridge/slimnode/wire"
	pb "github.com/slimbridge/slimbridge/slimnode/wire/dataplanepb"
)

// Windows and limits of HTTP/2, near those of the real library.
const (
	clientWindow   = 2 << 20
	serverWindow   = 1 << 20
	maxHeaderList  = 16 << 10
	maxClientRead  = wire.MaxMessage + 64<<10
	streamsPerConn = 100
)

// grpcClient is a dialled OpenChannel stream on a connection of its own.
type grpcClient struct {
	stream  grpc.ClientStream
	tear    func()
	aborted atomic.Bool
}

var openChannel = &grpc.StreamDesc{StreamName: "OpenChannel", ServerStreams: true, ClientStreams: true}

// dialGRPC opens the stream on nc, which is used up: a lost link is dialled
// anew by us, never by gRPC. TLS, if any, is already inside nc, since the real
// server selects no ALPN protocol and gRPC's own credentials insist on one. ctx
// bounds the opening only.
func dialGRPC(ctx context.Context, nc net.Conn, host, agent string, headers map[string]string) (carrier, error) {
	var once sync.Once
	dialer := func(context.Context, string) (net.Conn, error) {
		err := error(net.ErrClosed)
		once.Do(func() { err = nil })
		return nc, err
	}
	cc, err := grpc.NewClient("passthrough:///"+host,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialer),
		grpc.WithAuthority(host),
		grpc.WithUserAgent(agent),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		// Without it a node that lost its power is noticed after minutes.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 60 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithInitialWindowSize(clientWindow),
		grpc.WithInitialConnWindowSize(clientWindow),
		grpc.WithMaxHeaderListSize(maxHeaderList),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxClientRead)),
	)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	life, cancel := context.WithCancel(context.Background()) // of the stream
	if len(headers) > 0 {
		life = metadata.NewOutgoingContext(life, metadata.New(headers))
	}
	c := &grpcClient{tear: func() {
		cancel()
		nc.Close() //nolint:errcheck // nothing to do about it
		cc.Close() //nolint:errcheck // as above
	}}
	stop := context.AfterFunc(ctx, func() { c.abort(nil) })
	defer stop()
	c.stream, err = cc.NewStream(life, openChannel, pb.DataPlaneService_OpenChannel_FullMethodName)
	if err != nil {
		c.abort(nil)
		return nil, errors.Join(err, context.Cause(ctx))
	}
	return c, nil
}

func (c *grpcClient) recv() ([]byte, error) {
	var b []byte
	err := c.stream.RecvMsg(&b)
	return b, err
}

func (c *grpcClient) send(segs [][]byte) error { return c.stream.SendMsg(segs) }

func (c *grpcClient) finish() { c.stream.CloseSend() } //nolint:errcheck // always nil

func (c *grpcClient) kill() { c.abort(nil) }

func (c *grpcClient) abort(error) {
	if !c.aborted.Swap(true) {
		c.tear()
	}
}

func (c *grpcClient) negotiated() {}
