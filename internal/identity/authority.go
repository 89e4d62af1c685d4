package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// lookEvery is how often Secrets are looked at again. They change once in a year; a watch of all Secrets named so would cost more.
const lookEvery = 10 * time.Second

var errNoAuthority = errors.New("the certificate authority is not known yet")

// Authority is the certificate authority of the mesh as it is at the moment: that of the Secret cacerts in weft's namespace, or of the one in
// istio-system; without either, weft's own in the Secret weft-ca. If that was used before there was a cacerts, its root stays trusted for as long as the
// Secret is there, so that certificates of before and of after believe each other.
//
// Its methods are safe for concurrent use.
type Authority struct {
	client    kubernetes.Interface
	namespace string
	log       *slog.Logger

	mu      sync.Mutex
	ca      *CA
	from    string // the Secret
	err     string // of the last look
	changed chan struct{}
}

// NewAuthority makes one that knows nothing until Load.
func NewAuthority(client kubernetes.Interface, namespace string, log *slog.Logger) *Authority {
	return &Authority{client: client, namespace: namespace, log: log, changed: make(chan struct{})}
}

// CA gives the authority in force; nil before Load has succeeded.
func (a *Authority) CA() *CA {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca
}

// Changed is closed when the authority becomes another.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// Load reads the Secrets, and makes weft-ca if there is none at all. What is there but is no authority is an error: another one is not used in its place,
// and the one in force stays so.
func (a *Authority) Load(ctx context.Context) error {
	ca, from, err := a.find(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = ""
	if err != nil {
		a.err = err.Error()
		return err
	}
	if ca.same(a.ca) {
		return nil
	}
	a.ca, a.from = ca, from
	a.log.Info("certificates are signed by", "secret", from, "subject", ca.cert.Subject.String(), "until", ca.cert.NotAfter)
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

func (a *Authority) find(ctx context.Context) (*CA, string, error) {
	namespaces := []string{a.namespace}
	if a.namespace != IstioNamespace {
		namespaces = append(namespaces, IstioNamespace)
	}
	for _, ns := range namespaces {
		s, err := a.client.CoreV1().Secrets(ns).Get(ctx, OperatorSecretName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("Secret %s/%s: %w", ns, OperatorSecretName, err)
		}
		ca, err := readCA(s)
		if err != nil {
			return nil, "", err
		}
		own, err := a.client.CoreV1().Secrets(a.namespace).Get(ctx, SecretName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, "", fmt.Errorf("Secret %s/%s: %w", a.namespace, SecretName, err)
		default:
			if before, err := readCA(own); err == nil { // one that is damaged has signed nothing that holds
				ca = ca.trusting(before)
			}
		}
		return ca, ns + "/" + OperatorSecretName, nil
	}
	ca, err := SharedCA(ctx, a.client, a.namespace)
	return ca, a.namespace + "/" + SecretName, err
}

// Run looks at the Secrets again and again until ctx ends.
func (a *Authority) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		try, cancel := context.WithTimeout(ctx, lookEvery)
		err := a.Load(try)
		cancel()
		switch {
		case err == nil:
			said = ""
		case ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			a.log.Warn("the certificate authority stays the one that it was", "error", err)
		}
	}
}

// AuthorityStatus is an authority as it is shown.
type AuthorityStatus struct {
	Secret string // namespace and name; "" is none yet
	Error  string // why it could not be read the last time
	Until  time.Time
}

// Status tells where the authority in force comes from.
func (a *Authority) Status() AuthorityStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := AuthorityStatus{Secret: a.from, Error: a.err}
	if a.ca != nil {
		s.Until = a.ca.cert.NotAfter
	}
	return s
}
