package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
)

// Audience is for whom tokens must be made that are shown to the control plane: Istio's, which is in people's manifests.
const Audience = "istio-ca"

// Account is who showed a token.
type Account struct {
	Namespace, ServiceAccount string
	Pod, PodUID               string // "" for a token that is not bound to a Pod
}

// String reads "shop/web (web-1)", or without the Pod if there is none; it is empty for nobody.
func (a Account) String() string {
	switch {
	case a == Account{}:
		return ""
	case a.Pod == "":
		return a.Namespace + "/" + a.ServiceAccount
	}
	return a.Namespace + "/" + a.ServiceAccount + " (" + a.Pod + ")"
}

// ErrRejected means that the API server does not believe a token; other errors mean that it could not be asked.
var ErrRejected = errors.New("the token is rejected")

// Tokens asks the API server what tokens stand for. Its methods are safe for concurrent use.
type Tokens struct {
	client authenticationclient.TokenReviewInterface

	mu    sync.Mutex
	known map[[sha256.Size]byte]remembered
}

type remembered struct {
	account Account
	until   time.Time
}

const (
	rememberFor    = 5 * time.Minute // a token whose Pod is gone is believed no longer than this
	rememberAtMost = 10_000
)

// NewTokens makes one that asks this API server.
func NewTokens(client authenticationclient.TokenReviewsGetter) *Tokens {
	return &Tokens{client: client.TokenReviews(), known: map[[sha256.Size]byte]remembered{}}
}

// Keys of what a token says besides its user; see "Bound service account tokens" in the documentation of Kubernetes.
const (
	podNameKey = "authentication.kubernetes.io/pod-name"
	podUIDKey  = "authentication.kubernetes.io/pod-uid"
)

// Verify says whose a token is. What the API server said of it a few minutes ago is believed.
func (t *Tokens) Verify(ctx context.Context, token string) (Account, error) {
	sum := sha256.Sum256([]byte(token))
	now := time.Now()
	t.mu.Lock()
	r, ok := t.known[sum]
	t.mu.Unlock()
	if ok && now.Before(r.until) {
		return r.account, nil
	}
	account, err := t.Review(ctx, token)
	if err != nil {
		return Account{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= rememberAtMost {
		for k, r := range t.known {
			if now.After(r.until) {
				delete(t.known, k)
			}
		}
		if len(t.known) >= rememberAtMost {
			clear(t.known)
		}
	}
	t.known[sum] = remembered{account, now.Add(rememberFor)}
	return account, nil
}

// Review says the same as the API server has it now: nothing that was said before is believed.
func (t *Tokens) Review(ctx context.Context, token string) (Account, error) {
	review, err := t.client.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}, metav1.CreateOptions{})
	if err != nil {
		return Account{}, fmt.Errorf("token review: %w", err)
	}
	return accountOf(&review.Status)
}

func accountOf(s *authenticationv1.TokenReviewStatus) (a Account, err error) {
	if !s.Authenticated {
		if s.Error != "" {
			return a, fmt.Errorf("%w: %s", ErrRejected, s.Error)
		}
		return a, ErrRejected
	}
	ours := false // an API server that knows no audiences says none, and its word is for nobody in particular
	for _, x := range s.Audiences {
		ours = ours || x == Audience
	}
	if !ours {
		return a, fmt.Errorf("%w: it is not made for %s", ErrRejected, Audience)
	}
	name, ok := strings.CutPrefix(s.User.Username, "system:serviceaccount:")
	a.Namespace, a.ServiceAccount, _ = strings.Cut(name, ":")
	if !ok || a.Namespace == "" || a.ServiceAccount == "" {
		return Account{}, fmt.Errorf("%w: it is no ServiceAccount's", ErrRejected)
	}
	first := func(key string) string {
		if v := s.User.Extra[key]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	a.Pod, a.PodUID = first(podNameKey), first(podUIDKey)
	return a, nil
}
