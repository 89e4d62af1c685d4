package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
	"time"

	"github.com/weftmesh/weft/test/bench/measure"
)

// peer is a proxy under measurement.
type peer struct {
	name    string
	port    int
	shape   shape
	process *measure.Process
	control *measure.Process // what configures it, if something does
}

func (p *peer) stop() {
	p.process.Stop()
	p.control.Stop()
}

// url is where a client asks for a path: of the last route, if there are many.
func (p *peer) url(path string) string {
	scheme := "http"
	if p.shape.tls {
		scheme = "https"
	}
	prefix := ""
	if p.shape.routes > 1 {
		prefix = "/route-" + strconv.Itoa(p.shape.routes-1)
	}
	return scheme + "://127.0.0.1:" + strconv.Itoa(p.port) + prefix + path
}

// Ports of loopback.
const (
	backendPort  = 18700
	backendH2    = 18701
	firstPort    = 18710
	adminPortOff = 20 // the admin port of a proxy is this far from its own, and the port of its xDS twice as far
)

// settings is what templates are filled with.
type settings struct {
	shape
	Dir, Log         string
	Port, Admin, XDS int
	Backend          int
	Prefixes         []string // of the routes

	AccessLog, TLS, HTTP2        bool
	Certificate, Key             string // files
	CertificateBase64, KeyBase64 string
}

// startBackend serves files of several sizes, over HTTP/1.1 and over HTTP/2.
func (b *bench) startBackend(ctx context.Context) (*measure.Process, error) {
	if err := b.certificate(); err != nil {
		return nil, err
	}
	return measure.Serve(ctx, measure.Place{Processor: measure.LoadProcessor}, b.dir, measure.Listening(backendPort), []int{100, 10240, 1 << 20},
		fmt.Sprintf("127.0.0.1:%d backlog=4096", backendPort), fmt.Sprintf("127.0.0.1:%d http2", backendH2))
}

// startPeers starts the proxies of a scenario, in order.
func (b *bench) startPeers(ctx context.Context, s scenario) (peers []*peer, err error) {
	for i, name := range s.peers {
		p := &peer{name: name, port: firstPort + i, shape: s.shape}
		set := settings{shape: s.shape, Dir: b.dir, Port: p.port, Admin: p.port + adminPortOff, XDS: p.port + 2*adminPortOff, Backend: backendPort, Certificate: b.dir + "/cert.pem", Key: b.dir + "/key.pem",
			AccessLog: s.shape.accessLog, TLS: s.shape.tls, HTTP2: s.shape.http2, Log: filepath.Join(b.dir, name+".log")}
		if set.HTTP2 {
			set.Backend = backendH2
		}
		for r := range s.shape.routes {
			prefix := "/"
			if s.shape.routes > 1 {
				prefix = "/route-" + strconv.Itoa(r) + "/"
			}
			set.Prefixes = append(set.Prefixes, prefix)
		}
		if p.process, err = b.startPeer(ctx, p, set); err != nil {
			return peers, fmt.Errorf("%s: %w", name, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func (b *bench) startPeer(ctx context.Context, p *peer, set settings) (*measure.Process, error) {
	switch p.name {
	case "weft", "before", "envoy":
		config, err := b.fill(p.name+".yaml", bootstrapConfig, set)
		if err != nil {
			return nil, err
		}
		if p.control, err = b.startControl(ctx, p.name, set); err != nil {
			return nil, err
		}
		switch p.name {
		case "weft":
			return start(ctx, measure.ProxyProcessor, p.port, b.weft, "-c", config)
		case "before":
			return start(ctx, measure.ProxyProcessor, p.port, b.before, "-c", config, "--metrics-address", "127.0.0.1:0", "--health-address", "127.0.0.1:0")
		}
		if b.envoy == "" {
			return nil, errors.New("no Envoy: give -envoy or $WEFT_ENVOY")
		}
		return start(ctx, measure.ProxyProcessor, p.port, b.envoy, "-c", config, "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id")
	case "nginx":
		config, err := b.fill("nginx.conf", nginxConfig, set)
		if err != nil {
			return nil, err
		}
		return start(ctx, measure.ProxyProcessor, p.port, "nginx", "-p", b.dir, "-c", config, "-e", "stderr")
	default:
		config, err := b.fill("haproxy.cfg", haproxyConfig, set)
		if err != nil {
			return nil, err
		}
		return start(ctx, measure.ProxyProcessor, p.port, "haproxy", "-db", "-f", config)
	}
}

// startControl serves a proxy's configuration, made of objects.
func (b *bench) startControl(ctx context.Context, name string, set settings) (*measure.Process, error) {
	folder := filepath.Join(b.dir, name+"-objects")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	for into, file := range map[*string]string{&set.CertificateBase64: set.Certificate, &set.KeyBase64: set.Key} {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		*into = base64.StdEncoding.EncodeToString(text)
	}
	if _, err := b.fill(name+"-objects/objects.yaml", objects, set); err != nil {
		return nil, err
	}
	args := []string{"gateway", "-f", folder, "--namespace", "edge", "--xds", "127.0.0.1:" + strconv.Itoa(set.XDS), "--port", "80=" + strconv.Itoa(set.Port)}
	if set.AccessLog {
		args = append(args, "--access-log")
	}
	return start(ctx, measure.LoadProcessor, set.XDS, b.gateway, args...)
}

// start runs a program and waits until a port answers.
func start(ctx context.Context, processor, port int, name string, args ...string) (*measure.Process, error) {
	return measure.Start(ctx, measure.Program{
		Place: measure.Place{Processor: processor}, Name: name, Args: args, Prints: name == "haproxy", Ready: measure.Listening(port),
	})
}

// fill writes a configuration file.
func (b *bench) fill(name, text string, set settings) (string, error) {
	t, err := template.New(name).Parse(text)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.dir, name)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	return path, t.Execute(f, set)
}

// certificate makes one for all proxies; haproxy wants it in one file with its key.
func (b *bench) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench.test"}, DNSNames: []string{"bench.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, text := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM, "both.pem": append(certPEM, keyPEM...)} {
		if err := os.WriteFile(filepath.Join(b.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
