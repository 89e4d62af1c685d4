package machine

import (
	"context"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"syscall"

	"github.com/weftmesh/weft/lab/internal/reaper"
)

// rpcName is what a machine's methods are registered under.
const rpcName = "Machine"

// Client is a machine as its lab sees it.
type Client struct {
	process *reaper.Process
	rpc     *rpc.Client
}

// Start powers a machine on: it starts argv, which must come to Main, as
// process 1 of new namespaces. The machine has no interface yet, and waits for
// Boot.
func Start(children *reaper.Reaper, program string, argv []string) (*Client, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close()
	defer theirs.Close()
	process, err := children.Start(program, argv, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, theirs},
		Sys: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
			Setsid:     true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start a machine: %w", err)
	}
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Client{process: process, rpc: rpc.NewClient(conn)}, nil
}

// Pid is the number of process 1, seen from the lab.
func (c *Client) Pid() int { return c.process.Pid }

// Done is closed when the machine has ended.
func (c *Client) Done() <-chan struct{} { return c.process.Done() }

// Boot makes the machine what spec says.
func (c *Client) Boot(ctx context.Context, spec Spec) error {
	return c.call(ctx, "Boot", spec, &None{})
}

// StartService starts a service, if it does not run, and returns when it is ready.
func (c *Client) StartService(ctx context.Context, s Service) error {
	return c.call(ctx, "Start", s, &None{})
}

// StopService sends a service a signal and returns when it has ended.
func (c *Client) StopService(ctx context.Context, name string, signal syscall.Signal) error {
	return c.call(ctx, "StopService", Stop{name, signal}, &None{})
}

// Run runs a program in the machine to its end.
func (c *Client) Run(ctx context.Context, argv ...string) error {
	return c.call(ctx, "Run", argv, &None{})
}

// Services tells how the machine's services do.
func (c *Client) Services(ctx context.Context) ([]ServiceStatus, error) {
	var services []ServiceStatus
	err := c.call(ctx, "Status", None{}, &services)
	return services, err
}

// Check fails if a service of the machine has ended.
func (c *Client) Check(ctx context.Context) error {
	return c.call(ctx, "Check", None{}, &None{})
}

// PowerOff takes the machine's power away and returns when nothing of it runs.
func (c *Client) PowerOff(ctx context.Context) error {
	if err := c.process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	select {
	case <-c.process.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return c.rpc.Close()
}

func (c *Client) call(ctx context.Context, method string, args, reply any) error {
	call := c.rpc.Go(rpcName+"."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
