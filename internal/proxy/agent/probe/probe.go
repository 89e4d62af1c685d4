// Package probe asks the application what the kubelet and Prometheus would have asked it: they are led to the agent in a Pod whose connections a proxy takes,
// because they have no certificate of the mesh.
//
// It asks only what it was configured with, at the Pod's own address, from an address that is not turned to the proxy again, and hands on the answer. It
// holds no opinion on what it means.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Env is the variable that an injector writes the probes into: JSON, by the path that the kubelet asks the agent for.
const Env = "ISTIO_KUBE_APP_PROBERS"

// Paths are what the kubelet's questions begin with.
const (
	HealthPath    = "/app-health/"
	LifecyclePath = "/app-lifecycle/"
)

// prober is one of the application's probes, as Kubernetes' API has it, of which one kind is there.
type prober struct {
	HTTPGet   *httpGet   `json:"httpGet"`
	TCPSocket *tcpSocket `json:"tcpSocket"`
	GRPC      *grpcCheck `json:"grpc"`

	TimeoutSeconds int32 `json:"timeoutSeconds"`
}

type httpGet struct {
	Path   string `json:"path"`
	Port   port   `json:"port"`
	Scheme string `json:"scheme"` // "" is HTTP
}

type tcpSocket struct {
	Port port `json:"port"`
}

type grpcCheck struct {
	Port    port   `json:"port"`
	Service string `json:"service"`
}

// port is a number; an injector has looked up names.
type port uint16

// UnmarshalJSON reads a number, and one in quotes.
func (p *port) UnmarshalJSON(text []byte) error {
	s := string(text)
	if unquoted, err := strconv.Unquote(s); err == nil {
		s = unquoted
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("port %s is no number of a port", text)
	}
	*p = port(n)
	return nil
}

// timeout is Kubernetes' default where none is set.
func (p *prober) timeout() time.Duration {
	return time.Duration(max(1, p.TimeoutSeconds)) * time.Second
}

// Handler answers kubelets, and shows metrics.
type Handler struct {
	address string // of the application
	own     uint16 // the port that the kubelet asks
	from    *net.TCPAddr
	probers map[string]*prober
	scraped *url.URL // of the application's metrics; nil: it has none
	client  *http.Client
	log     *slog.Logger

	scrapeFailures atomic.Uint64
}

// New makes a handler of what the environment says; "" is no probe at all. pod is the Pod's address, not valid the loopback; own is the port that the
// handler is served on. A probe that cannot be read is logged, and left out.
func New(text string, pod netip.Addr, own uint16, log *slog.Logger) (*Handler, error) {
	h := &Handler{address: "127.0.0.1", own: own, from: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}, probers: map[string]*prober{}, log: log}
	if pod.IsValid() {
		h.address = pod.String()
		if pod.Is6() && !pod.Is4In6() {
			h.from = &net.TCPAddr{IP: net.ParseIP("::6")}
		}
	}
	h.client = h.newClient()
	if text == "" {
		return h, nil
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("%s: %w", Env, err)
	}
	known := regexp.MustCompile(`^/(app-health|app-lifecycle)/[^/]+/(livez|readyz|startupz|prestopz|poststartz)$`)
	for path, raw := range all {
		p := &prober{}
		err := json.Unmarshal(raw, p)
		if err == nil {
			err = p.check()
		}
		if err == nil && !known.MatchString(path) {
			err = errors.New("no probe is asked for by this path")
		}
		if err != nil {
			log.Error("a probe is left out", "path", path, "error", err)
			continue
		}
		h.probers[path] = p
	}
	return h, nil
}

func (p *prober) check() error {
	kinds := 0
	for _, is := range []bool{p.HTTPGet != nil, p.TCPSocket != nil, p.GRPC != nil} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("one of httpGet, tcpSocket and grpc is wanted")
	case p.HTTPGet != nil && p.HTTPGet.Port == 0, p.TCPSocket != nil && p.TCPSocket.Port == 0, p.GRPC != nil && p.GRPC.Port == 0:
		return errors.New("port is missing")
	}
	return nil
}

// ServeHTTP asks the application.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := h.probers[r.URL.Path]
	if p == nil {
		http.Error(w, "there is no probe for "+r.URL.Path, http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), p.timeout())
	defer cancel()
	var err error
	switch {
	case p.HTTPGet != nil:
		err = h.get(ctx, w, r, p.HTTPGet)
	case p.TCPSocket != nil:
		err = h.connect(ctx, p.TCPSocket.Port)
	default:
		err = h.check(ctx, r.UserAgent(), p.GRPC)
	}
	if err != nil {
		h.log.Warn("a probe of the application failed", "path", r.URL.Path, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (h *Handler) at(p port) string {
	return net.JoinHostPort(h.address, strconv.Itoa(int(p)))
}

// connect asks whether a port takes connections.
func (h *Handler) connect(ctx context.Context, p port) error {
	c, err := h.dial(ctx, "tcp", h.at(p))
	if err != nil {
		return err
	}
	return c.Close()
}

// dial connects as kubelets do: sockets do not linger when they are closed, because there are many. What is bound to an address that the machine does not
// have, as ::6 where nobody set it up, is tried without.
func (h *Handler) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: h.from, Control: func(_, _ string, c syscall.RawConn) error { return c.Control(lingerNot) }}
	conn, err := d.DialContext(ctx, network, address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		d.LocalAddr = nil
		conn, err = d.DialContext(ctx, network, address)
	}
	return conn, err
}

func lingerNot(fd uintptr) {
	_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: 1}) // without it there are more sockets, not less service
}
