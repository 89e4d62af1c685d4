package compose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/derive"
	"github.com/weftmesh/weft/internal/finding"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/store"
)

// credential is what a listener has to know of a Secret. A certificate that is renewed leaves it as it was.
type credential struct{ certificate, ca bool }

func (e *Edge) credentialOf(r *derive.Reader, n model.ObjectName) credential {
	s := e.Secrets.Get(r, n)
	return credential{certificate: s != nil && s.Certificate != nil, ca: s != nil && s.CA != nil}
}

// granted tells whether a fleet may have a Secret that a gateway names: one of the fleet's own namespace, or the one that an Ingress names in its
// own, because whoever may write an Ingress there means it to be served.
func granted(f model.Fleet, g model.GatewayName, n model.ObjectName) bool {
	return n.Namespace == f.Namespace || g.Kind == kindIngress && n.Namespace == g.Name.Namespace
}

// serverTLS makes out whose Secrets are meant, and reports what keeps handshakes from succeeding. The chain stays: nobody else gets its
// connections, and they work as soon as the Secret does.
func (e *Edge) serverTLS(r *derive.Reader, f model.Fleet, b *boundServer) *model.ServerTLS {
	if b.server.TLS == nil {
		return nil
	}
	t := *b.server.TLS
	refuse := func(code, format string, args ...any) {
		report(r, b.server.Origin, finding.Error, code, fmt.Sprintf(format, args...)+"; handshakes are refused")
	}
	t.Credentials = slices.Clone(t.Credentials)
	for i := range t.Credentials {
		n := inFleet(f, t.Credentials[i])
		t.Credentials[i] = n
		switch {
		case !granted(f, b.gateway, n):
			refuse("secret-not-granted", "Secret %v is not in namespace %s, where the gateway's proxies are", n, f.Namespace)
		case !e.credential.Get(r, n).certificate:
			refuse("no-certificate", "Secret %v does not exist, or has no certificate with its key", n)
		}
	}
	if t.ClientCA != nil {
		ca := inFleet(f, *t.ClientCA)
		for _, n := range authorities(f, b.server.TLS) {
			if e.credential.Get(r, n).ca {
				ca = n
				break
			}
		}
		switch {
		case !granted(f, b.gateway, ca):
			refuse("secret-not-granted", "Secret %v is not in namespace %s, where the gateway's proxies are", ca, f.Namespace)
		case !e.credential.Get(r, ca).ca:
			refuse("no-certificate", "Secret %v does not exist, or has no CA to verify clients with", ca)
		}
		t.ClientCA = &ca
	}
	return &t
}

// caSuffix is what the name of the Secret with the CA ends in, if it is not in the Secret with the certificate (Istio's credentialName).
const caSuffix = "-cacert"

// authorities lists the Secrets that may hold the CA of clients, the preferred one first.
func authorities(f model.Fleet, t *model.ServerTLS) []model.ObjectName {
	if t.ClientCA == nil {
		return nil
	}
	ca := inFleet(f, *t.ClientCA)
	if name, ok := strings.CutSuffix(ca.Name, caSuffix); ok {
		return []model.ObjectName{ca, {Namespace: ca.Namespace, Name: name}}
	}
	return []model.ObjectName{{Namespace: ca.Namespace, Name: ca.Name + caSuffix}, ca}
}

func inFleet(f model.Fleet, n model.ObjectName) model.ObjectName {
	if n.Namespace == "" {
		n.Namespace = f.Namespace
	}
	return n
}

// secretNamesOf lists the Secrets that a fleet may be given.
func (e *Edge) secretNamesOf(r *derive.Reader, f model.Fleet) (out []model.ObjectName) {
	ports := e.ports.Get(r, f)
	for _, p := range ports {
		for i := range p.servers {
			b := &p.servers[i]
			if b.server.TLS == nil {
				continue
			}
			for _, n := range slices.Concat(b.server.TLS.Credentials, authorities(f, b.server.TLS)) {
				if n = inFleet(f, n); granted(f, b.gateway, n) {
					out = append(out, n)
				}
			}
		}
	}
	for _, k := range e.ClusterKeys.Get(r, f) {
		if c := e.Clusters.Get(r, k); c != nil && c.Policy.TLS != nil && c.Policy.TLS.Credential != nil && c.Policy.TLS.Credential.Namespace == f.Namespace {
			out = append(out, *c.Policy.TLS.Credential)
		}
	}
	slices.SortFunc(out, model.ObjectName.Compare)
	return slices.Compact(out)
}

// Expired lists the Secrets of a fleet whose certificates are of no use at a time: clients refuse them. Time is no part of what objects mean, so
// this is for whoever has a clock to ask.
func (e *Edge) Expired(f model.Fleet, now time.Time) (out []finding.Finding) {
	for _, n := range e.SecretNames.Read(f) {
		if s := e.m.Secrets.Read(store.Key(n)); s != nil && s.Certificate != nil && s.NotAfter.Before(now) {
			out = append(out, finding.Finding{Object: s.Origin.Object, Field: "data[tls.crt]", Severity: finding.Error, Code: "expired-certificate",
				Message: "the certificate is valid until " + s.NotAfter.Format("2006-01-02 15:04:05 UTC") + "; clients refuse it"})
		}
	}
	return out
}
