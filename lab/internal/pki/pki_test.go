package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestEverybodyIsKnownToTheAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	err := Write(dir, Request{
		Server:      "https://10.89.0.2:6443",
		ServerNames: []string{"kubernetes"},
		ServerIPs:   []netip.Addr{netip.MustParseAddr("10.89.0.2"), netip.MustParseAddr("fd96::1")},
		Nodes:       []string{"node-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("ca.crt: %v", err)
	}

	server, err := tls.LoadX509KeyPair(filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kubernetes", "10.89.0.2", "fd96::1"} {
		if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("the API server as %s: %v", name, err)
		}
	}

	for file, want := range map[string]struct{ user, group string }{
		"admin.conf":              {"admin", "system:masters"},
		"controller-manager.conf": {"system:kube-controller-manager", ""},
		"scheduler.conf":          {"system:kube-scheduler", ""},
		"proxy.conf":              {"system:kube-proxy", ""},
		Node("node-1"):            {"system:node:node-1", "system:nodes"},
	} {
		var config struct {
			Clusters []struct{ Cluster struct{ Server string } }
			Users    []struct {
				User struct {
					Certificate []byte `json:"client-certificate-data"`
					Key         []byte `json:"client-key-data"`
				}
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got := config.Clusters[0].Cluster.Server; got != "https://10.89.0.2:6443" {
			t.Errorf("%s: server %s", file, got)
		}
		pair, err := tls.X509KeyPair(config.Users[0].User.Certificate, config.Users[0].User.Key)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		group := ""
		if o := pair.Leaf.Subject.Organization; len(o) > 0 {
			group = o[0]
		}
		if pair.Leaf.Subject.CommonName != want.user || group != want.group {
			t.Errorf("%s is for %s of %q", file, pair.Leaf.Subject.CommonName, group)
		}
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s can be read by others: %v %v", file, info.Mode(), err)
		}
	}
}
