package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ClientOptions say which API server to talk to, and as whom.
type ClientOptions struct {
	// Component and Version make the user agent: "weft/node v1.2".
	Component, Version string

	// Kubeconfig is a file, and Context one of its contexts ("" is the current one). An empty Kubeconfig means: the Pod's service account
	// if there is one, else what kubectl would use.
	Kubeconfig, Context string

	// APIServers are addresses to use instead of the configured one, which in a Pod is a Service address and so needs a Service proxy:
	// "https://10.0.0.1:6443" or "10.0.0.1:6443". With several, each connection goes to the first that accepts it, and the servers'
	// certificates must hold the name kubernetes.default.svc, as Kubernetes requires of them.
	APIServers []string
}

// serverName is in the certificate of every API server that Pods can use.
const serverName = "kubernetes.default.svc"

// serviceAccount is where a Pod finds its token and the cluster's CA.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// Config makes the client configuration. It asks nobody anything.
func Config(o ClientOptions) (*rest.Config, error) {
	cfg, err := o.base()
	if err != nil {
		return nil, err
	}
	cfg.UserAgent = strings.TrimSpace("weft/" + o.Component + " " + o.Version)
	cfg.QPS, cfg.Burst = 20, 40
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if err := useServers(cfg, o.APIServers); err != nil {
		return nil, err
	}
	return cfg, nil
}

func (o ClientOptions) base() (*rest.Config, error) {
	token := filepath.Join(serviceAccount, "token")
	if _, err := os.Stat(token); o.Kubeconfig == "" && o.Context == "" && err == nil {
		return inCluster(token, o.APIServers)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return cfg, nil
}

// inCluster is the Pod's own configuration. Unlike rest.InClusterConfig it needs no Service variables when it is told the server, and it
// never falls back to anything: without the CA it fails.
func inCluster(token string, servers []string) (*rest.Config, error) {
	ca := filepath.Join(serviceAccount, "ca.crt")
	if _, err := os.Stat(ca); err != nil {
		return nil, fmt.Errorf("service account: %w", err)
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if len(servers) == 0 && (host == "" || port == "") {
		return nil, errors.New("no address of an API server: neither --api-server nor KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set")
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(host, port),
		BearerTokenFile: token, // read again when it is rotated
		TLSClientConfig: rest.TLSClientConfig{CAFile: ca},
	}, nil
}

func useServers(cfg *rest.Config, servers []string) error {
	var addrs []string
	for _, s := range servers {
		u, err := serverURL(s)
		if err != nil {
			return err
		}
		if len(servers) == 1 {
			cfg.Host = u.String()
			return nil
		}
		if u.Scheme != "https" {
			return fmt.Errorf("--api-server %s: several servers must all be https", s)
		}
		addrs = append(addrs, u.Host)
	}
	if len(addrs) > 0 {
		cfg.Host = "https://" + serverName
		cfg.TLSClientConfig.ServerName = serverName
		cfg.Dial = (&anyOf{addrs: addrs, dial: (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}).DialContext}).DialContext
	}
	return nil
}

// serverURL reads the address of an API server; https is understood, and its port if none is given.
func serverURL(s string) (*url.URL, error) {
	raw := s
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("--api-server %q is not an address like https://10.0.0.1:6443", s)
	}
	if u.Port() == "" {
		port := "443"
		if u.Scheme == "http" {
			port = "80"
		}
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// anyOf dials the first of several addresses that accepts, beginning with the one that did last.
type anyOf struct {
	addrs []string
	last  atomic.Int64
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (a *anyOf) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	var errs []error
	first := int(a.last.Load())
	for i := range a.addrs {
		n := (first + i) % len(a.addrs)
		c, err := a.dial(ctx, network, a.addrs[n])
		if err == nil {
			a.last.Store(int64(n))
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}
