package credential

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// authority signs what it is asked for.
type authority struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey

	mu    sync.Mutex
	life  time.Duration
	id    string
	err   error
	asked []time.Time
}

func newAuthority(t *testing.T, life time.Duration) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, root: root, key: key, life: life, id: "spiffe://cluster.local/ns/shop/sa/web"}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}))
}

func (a *authority) ask(_ context.Context, request string, _ time.Duration) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, time.Now())
	if a.err != nil {
		return nil, a.err
	}
	block, _ := pem.Decode([]byte(request))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	id, err := url.Parse(a.id)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(len(a.asked))), URIs: []*url.URL{id}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(a.life)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), a.pem()}, nil
}

func (a *authority) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *authority) times() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

func (a *authority) options() Options {
	return Options{Ask: a.ask, Namespace: "shop", ServiceAccount: "web", Log: slog.New(slog.DiscardHandler)}
}

// run keeps a source going until the test, or the function it gives, ends it.
func run(t *testing.T, o Options) (*Source, func()) {
	t.Helper()
	s := New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	return s, func() { cancel(); <-done }
}

func current(t *testing.T, s *Source) *Credential {
	t.Helper()
	c, _ := s.Current()
	if c == nil {
		t.Fatal("there is no certificate")
	}
	return c
}

// A certificate is renewed when half of its time is over, with another key, and followers are told.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, 24*time.Hour)
		s, stop := run(t, a.options())
		defer stop()
		var got []*Credential
		ctx, cancel := context.WithCancel(t.Context())
		followed := make(chan struct{})
		go func() { defer close(followed); s.Follow(ctx, func(c *Credential) { got = append(got, c) }) }()
		synctest.Wait()
		first := current(t, s)
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if current(t, s) != first {
			t.Error("renewed before half of the time was over")
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		second := current(t, s)
		if second == first || bytes.Equal(first.Key, second.Key) {
			t.Error("not renewed, or with the same key")
		}
		if _, err := tls.X509KeyPair(second.Chain, second.Key); err != nil {
			t.Error(err)
		}
		cancel()
		<-followed
		if len(got) != 2 || got[0] != first || got[1] != second {
			t.Errorf("a follower was told of %d", len(got))
		}
		if st := s.Status(); st.Renewals != 2 || st.Failures != 0 || st.Identity != "spiffe://cluster.local/ns/shop/sa/web" || !st.Until.Equal(second.Leaf.NotAfter) {
			t.Errorf("%+v", st)
		}
	})
}

// Many Pods that began at one time do not renew at one time.
func TestRenewalIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, 24*time.Hour)
		for range 50 {
			_, stop := run(t, a.options())
			defer stop()
		}
		time.Sleep(14 * time.Hour)
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		at := map[time.Time]int{}
		for _, when := range a.asked[50:] {
			at[when.Truncate(time.Minute)]++
		}
		if len(a.asked) != 100 || len(at) < 5 {
			t.Errorf("asked %d times, at %v", len(a.asked), at)
		}
	})
}

// With the authority away what there is stays in use, and it is asked until it answers: before the certificate has expired and after.
func TestAuthorityAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, time.Minute)
		a.fail(errors.New("away"))
		s, stop := run(t, a.options())
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := a.times(); n < 5 || n > 40 {
			t.Errorf("asked %d times in the first minute", n)
		}
		a.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		first := current(t, s)
		a.fail(errors.New("away again"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := s.Status(); current(t, s) != first || st.Error != "away again" || st.Failures < 10 {
			t.Errorf("%+v", st)
		}
		a.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if st := s.Status(); current(t, s) == first || st.Error != "" {
			t.Errorf("%+v", st)
		}
	})
}

// What does not hold is not taken.
func TestForeignCertificates(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*authority, *Options)
		says string
	}{
		{"another's", func(a *authority, _ *Options) { a.id = "spiffe://cluster.local/ns/shop/sa/bank" }, "not of ns/shop/sa/web"},
		{"no SPIFFE ID", func(a *authority, _ *Options) { a.id = "https://example.com" }, "SPIFFE"},
		{"expired", func(a *authority, _ *Options) { a.life = -time.Second }, "expired"},
		{"of another root", func(a *authority, o *Options) {
			other := newAuthority(a.t, time.Hour)
			o.Ask = func(ctx context.Context, request string, life time.Duration) ([]string, error) {
				chain, err := a.ask(ctx, request, life)
				if err == nil {
					chain[1] = other.pem()
				}
				return chain, err
			}
		}, "unknown authority"},
		{"of another key", func(a *authority, o *Options) {
			o.Ask = func(ctx context.Context, _ string, life time.Duration) ([]string, error) {
				_, request, err := newKey()
				if err != nil {
					return nil, err
				}
				return a.ask(ctx, request, life)
			}
		}, "not that of the key"},
		{"nothing", func(_ *authority, o *Options) {
			o.Ask = func(context.Context, string, time.Duration) ([]string, error) { return nil, nil }
		}, "no chain"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t, time.Hour)
				o := a.options()
				c.edit(a, &o)
				s, stop := run(t, o)
				defer stop()
				synctest.Wait()
				if got, _ := s.Current(); got != nil || !strings.Contains(s.Status().Error, c.says) {
					t.Errorf("%v, %q; want %q", got, s.Status().Error, c.says)
				}
			})
		})
	}
}

// A container that starts again goes on with the key and certificate of the one before, without the authority; what is damaged, has expired or is
// another's is left out. Nobody else may read the file.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, time.Hour)
		o := a.options()
		o.File = filepath.Join(t.TempDir(), "credential.json")
		s, stop := run(t, o)
		synctest.Wait()
		before := current(t, s)
		stop()
		info, err := os.Stat(o.File)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v %v", info, err)
		}
		a.fail(errors.New("away"))

		s, stop = run(t, o)
		synctest.Wait()
		if after := current(t, s); !bytes.Equal(after.Key, before.Key) || !bytes.Equal(after.Chain, before.Chain) || !bytes.Equal(after.Roots, before.Roots) {
			t.Error("it is another")
		}
		if a.times() != 1 {
			t.Errorf("asked %d times", a.times())
		}
		time.Sleep(40 * time.Minute) // it is due by the time at which it was got
		synctest.Wait()
		if a.times() < 2 {
			t.Error("it is not renewed")
		}
		stop()

		text, err := os.ReadFile(o.File)
		if err != nil {
			t.Fatal(err)
		}
		none := func(what string, o Options) {
			t.Helper()
			s, stop := run(t, o)
			defer stop()
			synctest.Wait()
			if c, _ := s.Current(); c != nil {
				t.Errorf("%s: %s is used", what, c.Identity())
			}
		}
		foreign := o
		foreign.ServiceAccount = "bank"
		none("another's", foreign)
		if err := os.WriteFile(o.File, text[:len(text)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		none("damaged", o)
		if err := os.WriteFile(o.File, text, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		none("expired", o)
	})
}

// Roots that are published are trusted at once, and a new certificate is asked for; those that are gone are gone with it.
func TestRootsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, next := newAuthority(t, time.Hour), newAuthority(t, time.Hour)
		o := a.options()
		o.RootFile = filepath.Join(t.TempDir(), "root-cert.pem")
		write := func(text string) {
			if err := os.WriteFile(o.RootFile, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * rootsEvery)
			synctest.Wait()
		}
		write(a.pem())
		s, stop := run(t, o)
		defer stop()
		synctest.Wait()
		if c := current(t, s); string(c.Roots) != a.pem() {
			t.Errorf("%s", c.Roots)
		}
		a.fail(errors.New("away"))
		write(a.pem() + next.pem() + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		if c := current(t, s); string(c.Roots) != a.pem()+next.pem() || a.times() < 2 {
			t.Errorf("asked %d times; %s", a.times(), c.Roots)
		}
		a.fail(nil)
		write(a.pem())
		time.Sleep(time.Minute)
		synctest.Wait()
		if c := current(t, s); string(c.Roots) != a.pem() {
			t.Errorf("%s", c.Roots)
		}
	})
}
