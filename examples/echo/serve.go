package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// answer is what the server says of itself and of the request.
type answer struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Client  string      `json:"client"` // the address the connection comes from, without port
	Host    string      `json:"host,omitempty"`
	Method  string      `json:"method,omitempty"`
	Path    string      `json:"path,omitempty"`
	Header  http.Header `json:"header,omitempty"`
}

func self(remote net.Addr) answer {
	host, _, _ := net.SplitHostPort(remote.String())
	name, _ := os.Hostname()
	return answer{Name: cmp.Or(os.Getenv("ECHO_NAME"), name), Version: os.Getenv("ECHO_VERSION"), Client: host}
}

// line is the answer in the protocols that have no headers: "name client-address".
func (a answer) line() string { return a.Name + " " + a.Client + "\n" }

type addrString string

func (addrString) Network() string  { return "tcp" }
func (a addrString) String() string { return string(a) }

// serve answers until ctx ends. Then it goes on for a moment, so that nobody who was still sent here is turned away, and lets requests
// in flight finish.
func serve(ctx context.Context, args []string) error {
	var httpAddrs, tcpAddrs, tlsAddrs, udpAddrs, grpcAddrs addrs
	linger := 3 * time.Second
	parse("serve", args, func(fs *flag.FlagSet) {
		fs.Var(&httpAddrs, "http", "answer HTTP here: / says who, ?sleep=D waits, ?status=N answers N")
		fs.Var(&tcpAddrs, "tcp", "answer each TCP connection with one line")
		fs.Var(&tlsAddrs, "tls", "the same over TLS, with a certificate for whatever name the client asks for")
		fs.Var(&udpAddrs, "udp", "answer each datagram with one line")
		fs.Var(&grpcAddrs, "grpc-health", "answer gRPC health checks")
		fs.DurationVar(&linger, "linger", linger, "go on this long after SIGTERM")
	})
	var group sync.WaitGroup
	failed := make(chan error, len(httpAddrs)+len(tcpAddrs)+len(udpAddrs)+len(grpcAddrs))
	var closers []func()
	for _, a := range httpAddrs {
		s := &http.Server{Addr: a, Handler: http.HandlerFunc(answerHTTP), ReadHeaderTimeout: 10 * time.Second}
		closers = append(closers, func() {
			drain, done := context.WithTimeout(context.Background(), 20*time.Second)
			defer done()
			s.Shutdown(drain)
		})
		group.Go(func() {
			if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	for _, a := range grpcAddrs {
		s := &http.Server{Addr: a, Handler: http.HandlerFunc(answerHealth), ReadHeaderTimeout: 10 * time.Second, Protocols: &http.Protocols{}}
		s.Protocols.SetUnencryptedHTTP2(true)
		closers = append(closers, func() { s.Close() })
		group.Go(func() {
			if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	for _, a := range tcpAddrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		closers = append(closers, func() { l.Close() })
		group.Go(func() { answerTCP(l) })
	}
	for _, a := range tlsAddrs {
		config, err := anyName()
		if err != nil {
			return err
		}
		l, err := tls.Listen("tcp", a, config)
		if err != nil {
			return err
		}
		closers = append(closers, func() { l.Close() })
		group.Go(func() { answerTCP(l) })
	}
	for _, a := range udpAddrs {
		c, err := net.ListenPacket("udp", a)
		if err != nil {
			return err
		}
		closers = append(closers, func() { c.Close() })
		group.Go(func() { answerUDP(c) })
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	time.Sleep(linger)
	for _, c := range closers {
		c()
	}
	group.Wait()
	return nil
}

func answerHTTP(w http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
		select {
		case <-time.After(min(d, time.Minute)):
		case <-r.Context().Done():
		}
	}
	a := self(addrString(r.RemoteAddr))
	a.Host, a.Method, a.Path, a.Header = r.Host, r.Method, r.URL.Path, r.Header
	w.Header().Set("Content-Type", "application/json")
	var status int
	if _, err := fmt.Sscan(r.URL.Query().Get("status"), &status); err == nil && status >= 200 && status < 600 {
		w.WriteHeader(status)
	}
	json.NewEncoder(w).Encode(a)
}

// answerHealth answers grpc.health.v1.Health/Check: SERVING, which is 1 in field 1, behind the five bytes of a gRPC message.
func answerHealth(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	if r.URL.Path != "/grpc.health.v1.Health/Check" {
		w.Header().Set("Grpc-Status", "12") // UNIMPLEMENTED
		return
	}
	io.Copy(io.Discard, r.Body)
	w.Write([]byte{0, 0, 0, 0, 2, 1 << 3, 1})
	w.Header().Set("Grpc-Status", "0")
}

func answerTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.WriteString(c, self(c.RemoteAddr()).line())
		}()
	}
}

func answerUDP(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		c.WriteTo([]byte(self(from).line()), from)
	}
}

// anyName is TLS with a certificate that nobody has signed, made now.
func anyName() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}
