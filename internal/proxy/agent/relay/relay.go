// Package relay passes stock Envoy's stream of configuration on to the control plane: it listens on a Unix socket in the Pod, and adds what Envoy does not
// have: whom to trust, and the token of the Pod, read anew for each stream.
//
// It looks at no message. When either side ends a stream the other is told; Envoy comes again by itself, and says what it has.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/proxy/bootstrap"
	"github.com/weftmesh/weft/internal/proxy/uplink"
)

// method is the one that is passed on.
const method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

// Relay passes streams on to one server.
type Relay struct {
	server  *bootstrap.XDS
	log     *slog.Logger
	readers sync.WaitGroup
}

// New makes a relay. The server's description must not change.
func New(server *bootstrap.XDS, log *slog.Logger) (*Relay, error) {
	if err := uplink.Check(server, false); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return &Relay{server: server, log: log}, nil
}

// Serve passes on what comes to a listener until ctx ends, and closes it.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(grpc.ForceServerCodecV2(asIs{}), grpc.UnknownServiceHandler(r.pass), grpc.MaxRecvMsgSize(maxBytes), grpc.MaxSendMsgSize(maxBytes))
	defer r.readers.Wait()
	defer context.AfterFunc(ctx, g.Stop)()
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

// maxBytes is how long a message may be.
const maxBytes = 256 << 20

// pass carries one stream.
func (r *Relay) pass(_ any, down grpc.ServerStream) error {
	if name, _ := grpc.MethodFromServerStream(down); name != method {
		return status.Errorf(codes.Unimplemented, "%.200s is not passed on", name)
	}
	conn, err := uplink.Dial(r.server, nil)
	if err != nil {
		r.log.Warn("the control plane cannot be asked", "server", r.server.Address, "error", err)
		return status.Error(codes.Unavailable, err.Error())
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(down.Context())
	defer cancel()
	up, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(asIs{}))
	if err != nil {
		r.log.Warn("the control plane cannot be asked", "server", r.server.Address, "error", err)
		return err
	}
	r.readers.Go(func() { // ends when pass has returned
		for {
			var m mem.BufferSlice
			if down.RecvMsg(&m) != nil {
				_ = up.CloseSend()
				return
			}
			err := up.SendMsg(m)
			m.Free()
			if err != nil {
				return // the other direction is told why
			}
		}
	})
	err = r.answers(up, down)
	if !errors.Is(err, io.EOF) && down.Context().Err() == nil {
		r.log.Warn("the stream of configuration ended; Envoy goes on with what it has and asks again", "server", r.server.Address, "error", err)
		return err
	}
	return nil
}

// answers carries what the server says until it ends the stream.
func (r *Relay) answers(up grpc.ClientStream, down grpc.ServerStream) error {
	for {
		var m mem.BufferSlice
		if err := up.RecvMsg(&m); err != nil {
			return err
		}
		err := down.SendMsg(m)
		m.Free()
		if err != nil {
			return err
		}
	}
}

// asIs is a codec of bytes that nobody looks at.
type asIs struct{}

// Marshal takes what Unmarshal gave.
func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(mem.BufferSlice)
	if !ok {
		return nil, fmt.Errorf("relay: a %T is not passed on", v)
	}
	m.Ref()
	return m, nil
}

// Unmarshal takes a message as it is.
func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	to, ok := v.(*mem.BufferSlice)
	if !ok {
		return fmt.Errorf("relay: a %T takes no message as it is", v)
	}
	data.Ref()
	*to = data
	return nil
}

// Name is the codec's that the messages are of.
func (asIs) Name() string { return "proto" }
