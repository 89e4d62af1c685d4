package policies

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// authority signs the certificates and the tokens of the tests.
type authority struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	token *rsa.PrivateKey
	other *rsa.PrivateKey // whom nobody believes
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, k := range []**rsa.PrivateKey{&a.token, &a.other} {
		if *k, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return a
}

// pair is a certificate for a name of SPIFFE and its key; the authority's own for "".
func (a *authority) pair(name string) (cert, key []byte) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	if name == "" {
		of, k = a.cert, a.key
	} else {
		of.URIs = []*url.URL{{Scheme: "spiffe", Host: strings.SplitN(name, "/", 2)[0], Path: "/" + strings.SplitN(name+"/", "/", 2)[1]}}
		of.URIs[0].Path = strings.TrimSuffix(of.URIs[0].Path, "/")
	}
	der, err := x509.CreateCertificate(rand.Reader, of, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// keys is what tokens are verified with.
func (a *authority) keys() string {
	return `{"keys":[{"kty":"RSA","kid":"k","alg":"RS256","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(a.token.N.Bytes()) + `"}]}`
}

// sign makes a token.
func (a *authority) sign(claims map[string]any, forged bool) string {
	key := a.token
	if forged {
		key = a.other
	}
	body, err := json.Marshal(claims)
	if err != nil {
		a.t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"k","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// tls is how a client shows who it is; nil for one that shows nothing.
func (a *authority) tls(from string) *tls.Config {
	if from == "" {
		return nil
	}
	pair, err := tls.X509KeyPair(a.pair(from))
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, ServerName: "web.shop"} //nolint:gosec // whom we talk to is not what is tried
}

// byToken is what comes of a request whose token is one, but not for us.
const byToken = "403 by the token"

// ask tries a case on a proxy, and gives what came of it in the form of declaredCase.want.
func (c *declaredCase) ask(t *testing.T, f *declaredFile, trust *authority, at map[string]string, log string) string {
	t.Helper()
	if c.method == "TCP" {
		return c.connect(t, trust, at[f.name+"-tcp"])
	}
	scheme := "http"
	if c.from != "" {
		scheme = "https"
	}
	r, err := http.NewRequest(c.method, scheme+"://"+at[f.name]+c.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = c.headers.Clone()
	if r.Host = r.Header.Get("host"); r.Host == "" {
		r.Host = "web"
	}
	id := fmt.Sprintf("%s-%d", f.name, c.line)
	r.Header.Set("x-case", id)
	if c.claims != nil {
		r.Header.Set("authorization", "Bearer "+trust.sign(c.claims, c.forged))
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust.tls(c.from)}}).Do(r)
	if err != nil {
		return err.Error()
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		return fmt.Sprint(resp.StatusCode)
	}
	var policy string
	eventually(t, "a line for "+id+" in the access log", func() bool {
		text, _ := os.ReadFile(log)
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(id) + `\|(.*)$`).FindSubmatch(text)
		if m != nil {
			policy = string(m[1])
		}
		return m != nil
	})
	if rest, ok := strings.CutPrefix(policy, "rbac_access_denied_matched_policy["); ok {
		return "403 " + strings.TrimSuffix(rest, "]")
	}
	return byToken
}

// connect tells whether a connection carries anything.
func (c *declaredCase) connect(t *testing.T, trust *authority, address string) string {
	t.Helper()
	var conn net.Conn
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if config := trust.tls(c.from); config != nil {
		conn = tls.Client(conn, config)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "closed"
	}
	if n, _ := io.Copy(io.Discard, conn); n > 0 {
		return "open"
	}
	return "closed"
}
