package istioca

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	service = "istio.v1.auth.IstioCertificateService"
	method  = "CreateCertificate"
)

// Server is who answers requests for certificates. A gRPC status in its error reaches the client.
type Server interface {
	CreateCertificate(context.Context, *Request) (*Response, error)
}

// Register offers the service on a gRPC server.
func Register(r grpc.ServiceRegistrar, s Server) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: service, HandlerType: (*Server)(nil), Metadata: "security/v1alpha1/ca.proto",
		Methods: []grpc.MethodDesc{{MethodName: method, Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			return handle(ctx, srv, decode, intercept)
		}}},
	}, s)
}

// Messages travel as the unknown fields of an Empty: protobuf keeps those as they are, so that gRPC's own codec carries bytes that this package alone
// understands.

func handle(ctx context.Context, srv any, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	wire := &emptypb.Empty{}
	if err := decode(wire); err != nil {
		return nil, err
	}
	call := func(ctx context.Context, _ any) (any, error) {
		r := &Request{}
		if err := r.Unmarshal(wire.ProtoReflect().GetUnknown()); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		answer, err := srv.(Server).CreateCertificate(ctx, r)
		if err != nil {
			return nil, err
		}
		return raw(answer.Marshal()), nil
	}
	if intercept == nil {
		return call(ctx, wire)
	}
	return intercept(ctx, wire, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + service + "/" + method}, call)
}

func raw(b []byte) *emptypb.Empty {
	m := &emptypb.Empty{}
	m.ProtoReflect().SetUnknown(b)
	return m
}

// Call asks a server for a certificate.
func Call(ctx context.Context, c grpc.ClientConnInterface, r *Request, options ...grpc.CallOption) (*Response, error) {
	b, err := r.Marshal()
	if err != nil {
		return nil, err
	}
	wire := &emptypb.Empty{}
	if err := c.Invoke(ctx, "/"+service+"/"+method, raw(b), wire, options...); err != nil {
		return nil, err
	}
	answer := &Response{}
	return answer, answer.Unmarshal(wire.ProtoReflect().GetUnknown())
}
