package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/test/bench/netspace"
)

// lab is a Kubernetes of two nodes without a Service proxy: one node for weft, one for kube-proxy.
type lab struct {
	command, name string
	status        labStatus
	client        kubernetes.Interface
	outside       *netspace.Space
}

// labStatus is what is used of `weft-lab status -o json`.
type labStatus struct {
	APIServer  string       `json:"apiServer"`
	Kubeconfig string       `json:"kubeconfig"`
	Kubernetes string       `json:"kubernetes"`
	Nodes      []labMachine `json:"nodes"`
	Outside    labMachine   `json:"outside"`
}

type labMachine struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Netns string `json:"netns"`
}

// upLab brings a lab up.
func upLab(ctx context.Context, command, name string) (*lab, error) {
	l := &lab{command: command, name: name}
	if err := l.run(ctx, os.Stderr, "up", "--nodes", "2"); err != nil {
		return nil, err
	}
	if err := l.connect(ctx); err != nil {
		return nil, errors.Join(err, l.down())
	}
	return l, nil
}

func (l *lab) run(ctx context.Context, out *os.File, args ...string) error {
	cmd := exec.CommandContext(ctx, l.command, append(args, "--name", l.name)...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("weft-lab %s: %w", args[0], err)
	}
	return nil
}

func (l *lab) down() error {
	if l.outside != nil {
		l.outside.Close()
	}
	return l.run(context.Background(), os.Stderr, "down")
}

// connect makes a client of the API server, whose connections begin on the machine outside.
func (l *lab) connect(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, l.command, "status", "--name", l.name, "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("weft-lab status: %w", err)
	}
	if err := json.Unmarshal(out, &l.status); err != nil {
		return fmt.Errorf("weft-lab status: %w", err)
	}
	if l.outside, err = netspace.Open(l.status.Outside.Netns); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", l.status.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 10_000, 10_000
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.Dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = l.outside.Do(func() (err error) {
			d := net.Dialer{FallbackDelay: -1} // no other goroutine, which would be in another namespace
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	l.client, err = kubernetes.NewForConfig(config)
	return err
}

// writers is how many requests to the API server are under way at once.
const writers = 16

// together calls f for each Service, several at a time.
func together(ctx context.Context, services []int, f func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for _, i := range services {
		g.Go(func() error { return f(ctx, i) })
	}
	return g.Wait()
}

// populate creates the Services and their slices.
func (l *lab) populate(ctx context.Context, services []int) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := l.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return together(ctx, services, func(ctx context.Context, i int) error { return l.add(ctx, i, original(i)) })
}

// add creates a Service whose slice is there first.
func (l *lab) add(ctx context.Context, i int, endpoints []netip.Addr) error {
	_, err := l.client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, sliceObject(i, endpoints), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = l.set(ctx, i, endpoints)
	}
	if err == nil {
		_, err = l.client.CoreV1().Services(namespace).Create(ctx, serviceObject(i), metav1.CreateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create Service %s: %w", serviceName(i), err)
	}
	return nil
}

// set gives a Service other endpoints.
func (l *lab) set(ctx context.Context, i int, endpoints []netip.Addr) error {
	if _, err := l.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, sliceObject(i, endpoints), metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("change the EndpointSlice of %s: %w", serviceName(i), err)
	}
	return nil
}

// remove deletes a Service and its slice.
func (l *lab) remove(ctx context.Context, i int) error {
	if err := l.client.CoreV1().Services(namespace).Delete(ctx, serviceName(i), metav1.DeleteOptions{}); err != nil {
		return err
	}
	return l.client.DiscoveryV1().EndpointSlices(namespace).Delete(ctx, serviceName(i), metav1.DeleteOptions{})
}

// pause waits a little, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
