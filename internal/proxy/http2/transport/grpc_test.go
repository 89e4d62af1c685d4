package transport

import (
	"context"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// relay is a proxy in a few lines: what comes on a stream goes to a client's connection, and back.
func relay(c *Client) handlerFunc {
	return func(s message.ServerStream) {
		x, err := c.Start(s.Request(), s.RequestLength())
		if err != nil {
			s.Abort(message.Refused)
			return
		}
		requestDone := make(chan struct{})
		go func() {
			defer close(requestDone)
			if pump(x, s) == io.EOF {
				x.Finish(s.RequestTrailers())
			}
		}()
		gone := make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-s.Gone():
				x.SetReadDeadline(time.Unix(1, 0))
				x.SetWriteDeadline(time.Unix(1, 0))
			case <-gone:
			}
		}()
		var resp message.Response
		if err = x.ReadHead(&resp); err == nil {
			if err = s.WriteHead(&resp, x.ResponseLength()); err == nil {
				if err = pump(s, x); err == io.EOF {
					s.Finish(x.ResponseTrailers())
				}
			}
		}
		if err != io.EOF {
			s.Abort(message.Cancelled)
		}
		s.SetReadDeadline(time.Unix(1, 0))
		x.SetWriteDeadline(time.Unix(1, 0))
		close(gone)
		<-watched
		<-requestDone
		x.Close(message.Cancelled)
	}
}

func pump(to io.Writer, from io.Reader) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}

type echoService interface{}

// service answers a unary call with its argument, or the status that the argument names; and a stream with all that comes in it.
var service = grpc.ServiceDesc{
	ServiceName: "test.Echo", HandlerType: (*echoService)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := &wrapperspb.BytesValue{}
		if err := dec(in); err != nil {
			return nil, err
		}
		if n, err := strconv.Atoi(string(in.Value)); err == nil {
			return nil, status.Error(codes.Code(n), "as you wish")
		}
		if string(in.Value) == "wait" {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "t"))
		return in, nil
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Bidi", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		s.SendHeader(metadata.Pairs("x-header", "h"))
		for {
			m := &wrapperspb.BytesValue{}
			if err := s.RecvMsg(m); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
	}}},
}

// gRPC works through our server and our client, one behind the other.
func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	srv.RegisterService(&service, nil)
	go srv.Serve(l)
	defer srv.Stop()
	addr := serve(t, relay(dial(t, l.Addr().String(), Options{})), Options{})
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	unary := func(ctx context.Context, arg string) (string, metadata.MD, error) {
		out := &wrapperspb.BytesValue{}
		var trailer metadata.MD
		err := cc.Invoke(ctx, "/test.Echo/Unary", wrapperspb.Bytes([]byte(arg)), out, grpc.Trailer(&trailer))
		return string(out.Value), trailer, err
	}
	t.Run("unary", func(t *testing.T) {
		got, trailer, err := unary(ctx, "hello")
		if got != "hello" || err != nil || trailer["x-trailer"][0] != "t" {
			t.Errorf("%q %v %v", got, trailer, err)
		}
	})
	t.Run("large", func(t *testing.T) {
		large := make([]byte, 3<<20)
		got, _, err := unary(ctx, string(large))
		if len(got) != len(large) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	t.Run("trailers only", func(t *testing.T) {
		_, _, err := unary(ctx, "5")
		if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "as you wish" {
			t.Error(err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, _, err := unary(ctx, "wait"); status.Code(err) != codes.DeadlineExceeded {
			t.Error(err)
		}
	})
	t.Run("bidi", func(t *testing.T) {
		s, err := cc.NewStream(ctx, &service.Streams[0], "/test.Echo/Bidi")
		if err != nil {
			t.Fatal(err)
		}
		if h, err := s.Header(); err != nil || h["x-header"][0] != "h" { // before anything is sent
			t.Errorf("%v %v", h, err)
		}
		for i := range 1000 {
			if err := s.SendMsg(wrapperspb.Bytes([]byte(strconv.Itoa(i)))); err != nil {
				t.Fatal(err)
			}
			m := &wrapperspb.BytesValue{}
			if err := s.RecvMsg(m); err != nil || string(m.Value) != strconv.Itoa(i) {
				t.Fatalf("%d: %q %v", i, m.Value, err)
			}
		}
		s.CloseSend() // half of it is closed, and the other half is told
		if err := s.RecvMsg(&wrapperspb.BytesValue{}); err != io.EOF {
			t.Error(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		s, err := cc.NewStream(ctx, &service.Streams[0], "/test.Echo/Bidi")
		if err != nil {
			t.Fatal(err)
		}
		s.Header()
		cancel()
		if err := s.RecvMsg(&wrapperspb.BytesValue{}); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
	})
}
