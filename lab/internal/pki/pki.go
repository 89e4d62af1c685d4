// Package pki makes the certificates, keys and kubeconfigs of one lab: one
// authority, valid for the lab's life, whose files end with the lab. It never
// reuses or renews anything.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// lifetime is how long everything is valid: longer than any lab is left up.
const lifetime = 2 * 365 * 24 * time.Hour

// Request says who is to be known to the cluster.
type Request struct {
	// Server is the API server's URL in every kubeconfig.
	Server string
	// ServerNames and ServerIPs are what the API server is called.
	ServerNames []string
	ServerIPs   []netip.Addr
	// Nodes are names of nodes.
	Nodes []string
}

// Node is the base name of a node's kubeconfig.
func Node(name string) string { return "node-" + name + ".conf" }

// Write makes everything and writes it to dir, readable to its owner only:
// ca, apiserver, apiserver-kubelet-client and front-proxy-client as .crt and
// .key, sa.key and sa.pub, and a .conf (kubeconfig) for admin,
// controller-manager, scheduler, proxy and each node.
func Write(dir string, r Request) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return err
	}
	if err := a.serviceAccountKey(); err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    r.ServerNames,
	}
	for _, ip := range r.ServerIPs {
		server.IPAddresses = append(server.IPAddresses, ip.AsSlice())
	}
	if _, err := a.issue("apiserver", server); err != nil {
		return err
	}
	for _, c := range []struct{ file, user, group string }{
		{"apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"},
		{"front-proxy-client", "front-proxy-client", ""},
	} {
		if _, err := a.issue(c.file, client(c.user, c.group)); err != nil {
			return err
		}
	}
	configs := []struct{ file, user, group string }{
		{"admin.conf", "admin", "system:masters"},
		{"controller-manager.conf", "system:kube-controller-manager", ""},
		{"scheduler.conf", "system:kube-scheduler", ""},
		{"proxy.conf", "system:kube-proxy", ""},
	}
	for _, node := range r.Nodes {
		configs = append(configs, struct{ file, user, group string }{Node(node), "system:node:" + node, "system:nodes"})
	}
	for _, c := range configs {
		if err := a.kubeconfig(c.file, r.Server, c.user, c.group); err != nil {
			return err
		}
	}
	return nil
}

type authority struct {
	dir         string
	certificate *x509.Certificate
	pem         []byte
	key         *ecdsa.PrivateKey
	serial      int64
}

// keyPair is a certificate and its key in PEM.
type keyPair struct{ certificate, key []byte }

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "weft-lab"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(lifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("the lab's authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, certificate: certificate, pem: block("CERTIFICATE", der), key: key, serial: 1}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := a.write("ca.crt", a.pem); err != nil {
		return nil, err
	}
	return a, a.write("ca.key", block("EC PRIVATE KEY", keyDER))
}

func client(user, group string) *x509.Certificate {
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: user},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if group != "" {
		c.Subject.Organization = []string{group}
	}
	return c
}

// issue signs a certificate with a fresh key and writes both.
func (a *authority) issue(file string, template *x509.Certificate) (keyPair, error) {
	pair, err := a.sign(template)
	if err != nil {
		return keyPair{}, fmt.Errorf("certificate of %s: %w", template.Subject.CommonName, err)
	}
	if err := a.write(file+".crt", pair.certificate); err != nil {
		return keyPair{}, err
	}
	return pair, a.write(file+".key", pair.key)
}

func (a *authority) sign(template *x509.Certificate) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	template.NotBefore, template.NotAfter = a.certificate.NotBefore, a.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return keyPair{}, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{block("CERTIFICATE", der), block("EC PRIVATE KEY", keyDER)}, nil
}

// kubeconfig writes a kubeconfig, in JSON, which is YAML, for a user of that name.
func (a *authority) kubeconfig(file, server, user, group string) error {
	pair, err := a.sign(client(user, group))
	if err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", user, err)
	}
	type object = map[string]any
	config, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "weft-lab",
		"clusters":        []object{{"name": "weft-lab", "cluster": object{"server": server, "certificate-authority-data": a.pem}}},
		"users":           []object{{"name": user, "user": object{"client-certificate-data": pair.certificate, "client-key-data": pair.key}}},
		"contexts":        []object{{"name": "weft-lab", "context": object{"cluster": "weft-lab", "user": user}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return a.write(file, append(config, '\n'))
}

// serviceAccountKey makes the pair that signs ServiceAccount tokens. It is RSA,
// which is what every verifier of such tokens can read.
func (a *authority) serviceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := a.write("sa.key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))); err != nil {
		return err
	}
	return a.write("sa.pub", block("PUBLIC KEY", public))
}

func (a *authority) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(a.dir, name), content, 0o600)
}

func block(kind string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
}
