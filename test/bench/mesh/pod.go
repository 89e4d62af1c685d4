package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weftmesh/weft/internal/redirect"
	"github.com/weftmesh/weft/test/bench/measure"
	"github.com/weftmesh/weft/test/bench/netspace"
)

// pod is a network namespace with a sidecar in it.
type pod struct {
	account, address string
	dir              string // what is mounted
	space            *netspace.Space
	sidecar          *measure.Process
}

// newPod makes one in which nothing runs yet, and in which the control plane can be asked.
func newPod(ctx context.Context, c *control, dir, account, address string) (p *pod, err error) {
	p = &pod{account: account, address: address, dir: filepath.Join(dir, account)}
	if p.space, err = netspace.New(); err != nil {
		return nil, err
	}
	if err := p.mount(c); err != nil {
		return p, err
	}
	if err := p.link("lo", ""); err != nil {
		return p, err
	}
	var l net.Listener
	if err := p.space.Do(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:"+controlPort); return err }); err != nil {
		return p, err
	}
	c.serve(ctx, l)
	return p, nil
}

// mount writes what a Pod has of the mesh: its token, the roots, and a folder for what the sidecar keeps.
func (p *pod) mount(c *control) error {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"token": []byte(p.account), "root-cert.pem": c.authority.CA().Root(), "labels": fmt.Appendf(nil, "app=%q\n", p.account)} {
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o644); err != nil {
			return err
		}
	}
	state := filepath.Join(p.dir, "state")
	if err := os.MkdirAll(state, 0o755); err != nil {
		return err
	}
	return os.Chown(state, redirect.ProxyUID, redirect.ProxyGID)
}

// link sets an interface up, with an address unless that is "".
func (p *pod) link(name, address string) error {
	h, err := p.space.Links()
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if address != "" {
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := h.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return h.LinkSetUp(l)
}

// join puts a cable between two Pods. Whatever is not known goes into it, as it goes out of a Pod to its node.
func join(a, b *pod) error {
	h, err := a.space.Links()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.space.FD())}); err != nil {
		return err
	}
	for _, p := range []*pod{a, b} {
		if err := p.link("eth0", p.address+"/24"); err != nil {
			return err
		}
	}
	l, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: everywhere, Scope: netlink.SCOPE_LINK})
}

// place is in the Pod, on a processor.
func (p *pod) place(processor int) measure.Place {
	return measure.Place{Processor: processor, In: []string{"nsenter", "--net=" + p.space.Path()}}
}

// start turns the Pod's connections and runs its sidecar. counts is the name of the program that carries them.
func (p *pod) start(ctx context.Context, weft, counts string, args ...string) (err error) {
	if err := p.space.Do(func() error { return redirect.Apply(redirect.Default()) }); err != nil {
		return err
	}
	at := p.place(measure.ProxyProcessor)
	at.In = append(at.In, "setpriv", "--reuid="+strconv.Itoa(redirect.ProxyUID), "--regid="+strconv.Itoa(redirect.ProxyGID), "--clear-groups", "--pdeathsig=KILL")
	file := func(name string) string { return filepath.Join(p.dir, name) }
	p.sidecar, err = measure.Start(ctx, measure.Program{
		Place: at, Name: weft, Counts: counts, Alone: true, Ready: func() error { return p.ready(ctx) },
		Args: append([]string{"agent", "--ca=127.0.0.1:" + controlPort, "--token-file=" + file("token"), "--ca-file=" + file("root-cert.pem"), "--labels-file=" + file("labels"),
			"--state-dir=" + file("state/kept"), "--sds-socket=" + file("state/sds"), "--drain-time=100ms", "--minimum-drain=1ms"}, args...),
		Env: []string{"POD_NAME=" + podName(p.account), "POD_NAMESPACE=" + namespace, "INSTANCE_IP=" + p.address, "SERVICE_ACCOUNT=" + p.account, "ISTIO_META_WORKLOAD_NAME=" + p.account},
	})
	return err
}

// ready asks as the kubelet does.
func (p *pod) ready(ctx context.Context) error {
	status, _, err := get(ctx, p.client(0, nil), "http://127.0.0.1:15021/healthz/ready", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return err
}

// dial connects from inside the Pod, as a user. That of the proxy is not redirected.
func (p *pod) dial(ctx context.Context, uid int, address string) (c net.Conn, err error) {
	err = p.space.Do(func() error {
		// Only this thread becomes somebody else, and it ends with the function.
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			return errno
		}
		d := net.Dialer{FallbackDelay: -1, Timeout: 5 * time.Second} // no other goroutine, which would be elsewhere
		c, err = d.DialContext(ctx, "tcp4", address)
		return err
	})
	return c, err
}

func (p *pod) stop() {
	if p == nil {
		return
	}
	p.sidecar.Stop()
	p.space.Close()
}

// peer is a pair of Pods with one kind of sidecar.
type peer struct {
	name           string
	weft, envoy    string // programs; with envoy the sidecars are that, and weft runs it
	client, server *pod
	backend        *measure.Process
	idle           result // memory when they were ready, before there was any request
	begin          func(context.Context, *pod) error
	fresh          *result // memory of sidecars that were started again in the large mesh
}

// start makes the Pods and waits until requests go from one to the other.
func (p *peer) start(ctx context.Context, c *control, dir string) (err error) {
	dir = filepath.Join(dir, p.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if p.weft, err = take(p.weft, filepath.Join(dir, "weft-proxy")); err != nil {
		return err
	}
	counts, args := "weft-proxy", []string(nil)
	if p.name == "envoy" {
		if p.envoy == "" {
			return errors.New("no Envoy: give -envoy or $WEFT_ENVOY")
		}
		if p.envoy, err = take(p.envoy, filepath.Join(dir, "envoy")); err != nil {
			return err
		}
		counts, args = "envoy", []string{"--envoy=" + p.envoy, "--envoy-args=--concurrency,1"}
	}
	if p.client, err = newPod(ctx, c, dir, clientAccount, clientAddress); err != nil {
		return err
	}
	if p.server, err = newPod(ctx, c, dir, serverAccount, serverAddress); err != nil {
		return err
	}
	if err := join(p.client, p.server); err != nil {
		return err
	}
	p.backend, err = measure.Serve(ctx, p.server.place(measure.LoadProcessor), dir, func() error {
		c, err := p.server.dial(ctx, 0, net.JoinHostPort("127.0.0.1", strconv.Itoa(backendPort)))
		if err == nil {
			_ = c.Close()
		}
		return err
	}, sizes(), strconv.Itoa(backendPort)+" backlog=4096")
	if err != nil {
		return err
	}
	p.begin = func(ctx context.Context, one *pod) error { return one.start(ctx, p.weft, counts, args...) }
	for _, one := range []*pod{p.client, p.server} {
		if err := p.begin(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// settled waits until both sidecars have long been ready.
func (p *peer) settled(ctx context.Context) error {
	for _, one := range []*pod{p.client, p.server} {
		if err := one.sidecar.Settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// restarted gives the memory of sidecars that begin in the mesh as it is, once they have long been ready.
func (p *peer) restarted(ctx context.Context) (result, error) {
	if p.fresh == nil {
		for _, one := range []*pod{p.client, p.server} {
			one.sidecar.Stop()
			if err := p.begin(ctx, one); err != nil {
				return result{}, err
			}
		}
		if err := p.settled(ctx); err != nil {
			return result{}, err
		}
		r := p.resident(result{})
		p.fresh = &r
	}
	return *p.fresh, nil
}

func (p *peer) stop() {
	p.client.stop()
	p.backend.Stop()
	p.server.stop()
}

// take copies a program, which may be in a folder of root's own, to where everybody can start it.
func take(from, to string) (string, error) {
	text, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(to, text, 0o755)
}
