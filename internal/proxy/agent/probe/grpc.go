package probe

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// check asks grpc.health.v1.Health, in the clear, as kubelets do.
func (h *Handler) check(ctx context.Context, agent string, p *grpcCheck) error {
	conn, err := grpc.NewClient("passthrough:///"+h.at(p.Port), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent(agent), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return h.dial(ctx, "tcp", address) }))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: p.Service})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return fmt.Errorf("it does not answer grpc.health.v1: %w", err)
	case err != nil:
		return err
	case answer.GetStatus() != healthv1.HealthCheckResponse_SERVING:
		return fmt.Errorf("it says %v", answer.GetStatus())
	}
	return nil
}
