package sds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/internal/proxy/agent/credential"
)

const (
	secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	maxNames   = 16 // of one stream; there are two Secrets
)

// Server serves one source's credential.
type Server struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	source  *credential.Source
	log     *slog.Logger
	readers sync.WaitGroup
}

// New makes a server.
func New(source *credential.Source, log *slog.Logger) *Server {
	return &Server{source: source, log: log}
}

// Listen opens a Unix socket that only this process's user can connect to. One that a process before has left is replaced.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// Nobody connects before the mode is set: what nobody knows the name of is moved into place.
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.Itoa(os.Getpid()))
	_ = os.Remove(part) // left by a process that had this number
	l, err := new(net.ListenConfig).Listen(ctx, "unix", part)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(part, 0o600); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(part)
		return nil, err
	}
	return l, nil
}

// Serve answers on a listener until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(1 << 20))
	secretv3.RegisterSecretDiscoveryServiceServer(g, s)
	defer s.readers.Wait()
	defer context.AfterFunc(ctx, g.Stop)()
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("sds: %w", err)
	}
	return nil
}

// stream is what a client of either variant asks for and has.
type stream struct {
	names map[string]bool
	has   map[string]string // the version of each Secret that was sent; "-" is that there is none
	node  *corev3.Node
	nonce uint64
}

// due gives what of the names a client does not have as it is now, and names that mean nothing. Nothing is due while there is no credential: a client waits.
func (st *stream) due(all map[string]secret) (out []secret, unknown []string) {
	if len(all) == 0 {
		return nil, nil
	}
	for name := range st.names {
		one, known := all[name]
		switch {
		case !known && st.has[name] != "-":
			unknown = append(unknown, name)
			st.has[name] = "-"
		case known && st.has[name] != one.version:
			out = append(out, one)
			st.has[name] = one.version
		}
	}
	return out, unknown
}

func (st *stream) subscribe(names []string) error {
	for _, n := range names {
		st.names[n] = true
	}
	if len(st.names) > maxNames {
		return status.Errorf(codes.ResourceExhausted, "more than %d Secrets are asked for", maxNames)
	}
	return nil
}

func (st *stream) next() string {
	st.nonce++
	return strconv.FormatUint(st.nonce, 10)
}

// StreamSecrets serves the variant that names all that is wanted in each request.
func (s *Server) StreamSecrets(g secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	return serve(g.Context(), s, g.Recv, func(st *stream, r *discoveryv3.DiscoveryRequest) error {
		if err := s.check(st, r.GetTypeUrl(), r.GetNode(), r.GetErrorDetail().GetMessage()); err != nil {
			return err
		}
		if r.GetErrorDetail() != nil || r.GetResponseNonce() != "" && r.GetResponseNonce() != strconv.FormatUint(st.nonce, 10) {
			return nil
		}
		clear(st.names)
		err := st.subscribe(r.GetResourceNames())
		for n := range st.has {
			if !st.names[n] {
				delete(st.has, n)
			}
		}
		return err
	}, func(st *stream, due []secret, unknown []string) error {
		if len(due) == 0 {
			return nil
		}
		m := &discoveryv3.DiscoveryResponse{TypeUrl: secretType, Nonce: st.next()}
		for _, one := range due {
			a, err := anypb.New(one.message)
			if err != nil {
				return err
			}
			m.Resources = append(m.Resources, a)
			m.VersionInfo = one.version
		}
		return g.Send(m)
	})
}

// DeltaSecrets serves the variant that names what changes.
func (s *Server) DeltaSecrets(g secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	return serve(g.Context(), s, g.Recv, func(st *stream, r *discoveryv3.DeltaDiscoveryRequest) error {
		if err := s.check(st, r.GetTypeUrl(), r.GetNode(), r.GetErrorDetail().GetMessage()); err != nil {
			return err
		}
		for name, version := range r.GetInitialResourceVersions() {
			if len(st.has) < maxNames {
				st.has[name] = version
			}
		}
		for _, n := range r.GetResourceNamesUnsubscribe() {
			delete(st.names, n)
			delete(st.has, n)
		}
		return st.subscribe(r.GetResourceNamesSubscribe())
	}, func(st *stream, due []secret, unknown []string) error {
		if len(due)+len(unknown) == 0 {
			return nil
		}
		m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: secretType, Nonce: st.next(), RemovedResources: unknown}
		for _, one := range due {
			a, err := anypb.New(one.message)
			if err != nil {
				return err
			}
			m.Resources = append(m.Resources, &discoveryv3.Resource{Name: one.message.GetName(), Version: one.version, Resource: a})
		}
		return g.Send(m)
	})
}

// check looks at what both variants' requests have.
func (s *Server) check(st *stream, typeURL string, node *corev3.Node, rejected string) error {
	if typeURL != "" && typeURL != secretType {
		return status.Errorf(codes.InvalidArgument, "type_url: there are only Secrets here, and no %.200q", typeURL)
	}
	if node != nil {
		st.node = node
	}
	if rejected != "" {
		s.log.Error("a proxy rejected the Pod's certificate or roots", "node", st.node.GetId(), "error", rejected)
	}
	return nil
}

// serve runs a stream: take takes in a request, send sends what is due. It ends with the client, or with an error of either.
func serve[R any](ctx context.Context, s *Server, recv func() (R, error), take func(*stream, R) error, send func(*stream, []secret, []string) error) error {
	requests := make(chan R)
	gone := make(chan struct{})
	s.readers.Go(func() { // ends when the handler of the stream has returned
		defer close(gone)
		for {
			r, err := recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	})
	st := &stream{names: map[string]bool{}, has: map[string]string{}}
	for {
		c, changed := s.source.Current()
		due, unknown := st.due(secretsOf(c))
		if len(unknown) > 0 {
			s.log.Warn("a proxy asks for Secrets that the Pod does not have", "node", st.node.GetId(), "names", unknown)
		}
		if err := send(st, due, unknown); err != nil {
			return err
		}
		select {
		case <-gone:
			return nil
		case <-changed:
		case r := <-requests:
			if err := take(st, r); err != nil {
				return err
			}
		}
	}
}
