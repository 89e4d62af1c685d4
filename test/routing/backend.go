package routing

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Seen is what an endpoint saw of a request, which it answers with.
type Seen struct {
	Name    string // of the endpoint
	Method  string
	Path    string // with the query
	Host    string
	Headers map[string]string // several values joined with ", "
	Body    string
}

// Speaks is what an endpoint speaks.
type Speaks string

// What endpoints can speak.
const (
	SpeaksHTTP Speaks = "http" // HTTP/1.1, and HTTP/2 with prior knowledge, gRPC among it
	SpeaksTCP  Speaks = "tcp"  // says its name in a line, and then what it is told
	SpeaksTLS  Speaks = "tls"  // the same after a handshake
)

// Backends are the endpoints of the objects, on the loopback addresses that the objects name.
type Backends struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	failed map[string]int // how often a request was failed, by its x-case
}

// Endpoint is one to start.
type Endpoint struct {
	Name   string
	Addr   netip.AddrPort
	Speaks Speaks
}

// StartBackends listens for all endpoints until Close.
func StartBackends(ctx context.Context, endpoints []Endpoint, certificate tls.Certificate) (*Backends, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &Backends{cancel: cancel, failed: map[string]int{}}
	for _, e := range endpoints {
		l, err := net.Listen("tcp", e.Addr.String())
		if err != nil {
			b.Close()
			return nil, fmt.Errorf("endpoint %s: %w", e.Name, err)
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		switch e.Speaks {
		case SpeaksHTTP:
			b.running.Go(func() { b.serveHTTP(ctx, l, e.Name) })
		case SpeaksTLS:
			l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
			fallthrough
		default:
			b.running.Go(func() { b.serveTCP(ctx, l, e.Name) })
		}
	}
	return b, nil
}

// Close ends all endpoints and waits for them.
func (b *Backends) Close() {
	b.cancel()
	b.running.Wait()
}

func (b *Backends) serveHTTP(ctx context.Context, l net.Listener, name string) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Protocols: protocols, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.answer(w, r, name) }),
	}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	_ = s.Serve(l) // ends with the context
}

// answer says what was seen. Headers of the request make it do otherwise: x-answer-status, x-answer-header ("name: value"), x-answer-after (a
// duration), and x-answer-failures, the number of tries that fail with 503 before one does not.
func (b *Backends) answer(w http.ResponseWriter, r *http.Request, name string) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a client that went away gets no answer
	seen := Seen{Name: name, Method: r.Method, Path: r.RequestURI, Host: r.Host, Headers: map[string]string{}, Body: string(body)}
	for k, v := range r.Header {
		seen.Headers[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	if h, v, ok := strings.Cut(r.Header.Get("x-answer-header"), ":"); ok {
		w.Header().Set(h, strings.TrimSpace(v))
	}
	if d, err := time.ParseDuration(r.Header.Get("x-answer-after")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	status := http.StatusOK
	if n, err := strconv.Atoi(r.Header.Get("x-answer-status")); err == nil {
		status = n
	}
	if b.fails(r) {
		status = http.StatusServiceUnavailable
	}
	text, err := json.Marshal(seen)
	if err != nil {
		panic(err) // of strings alone
	}
	w.Header().Set("x-endpoint", name)
	if strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
		w.Header().Set("content-type", "application/grpc")
		w.Header().Set("trailer", "grpc-status")
		frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text)))
		_, _ = w.Write(append(frame, text...))
		code := r.Header.Get("x-answer-grpc")
		if code == "" {
			code = "0"
		}
		w.Header().Set("grpc-status", code)
		return
	}
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// fails tells whether this try is one of those that fail.
func (b *Backends) fails(r *http.Request) bool {
	n, err := strconv.Atoi(r.Header.Get("x-answer-failures"))
	if err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := r.Header.Get("x-case")
	b.failed[key]++
	return b.failed[key] <= n
}

func (b *Backends) serveTCP(ctx context.Context, l net.Listener, name string) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		open.Go(func() {
			defer stop()
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(conn, name+"\n"); err != nil {
				return
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
				_, _ = io.WriteString(conn, line)
			}
		})
	}
}
