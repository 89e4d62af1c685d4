package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/weftmesh/weft/test/lab"
)

// Certificate makes the Secret that examples/edge names, in the gateway's namespace, with a certificate for secure.example.org that it signs itself;
// one that is there stays.
func Certificate(ctx context.Context, l *lab.Lab) error {
	if _, err := l.Kubectl(ctx, "get", "secret", "-n", "weft-system", "demo-tls"); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "secure.example.org"}, DNSNames: []string{"secure.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	in := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return l.Apply(ctx, "weft-system", fmt.Sprintf(`
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {name: demo-tls}
data: {tls.crt: %s, tls.key: %s}
`, in("CERTIFICATE", der), in("PRIVATE KEY", keyDER)))
}
