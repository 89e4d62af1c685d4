package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/limit"
	"github.com/weftmesh/weft/internal/proxy/istioca"
)

// IssuerOptions are what an [Issuer] is made of. Authority and Tokens must be given; the other zero values have the defaults that are named.
type IssuerOptions struct {
	Authority *Authority
	Tokens    *Tokens

	TrustDomain string        // "cluster.local"
	Life        time.Duration // of a certificate whose holder does not say for how long it wants it; 0 is 24 h
	MaxLife     time.Duration // of any certificate; 0 is 90 days

	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// How often certificates are asked for. What is more is refused, and is tried again by those who ask.
const (
	askedPerSecond, askedAtOnce       = 100, 1000 // by all together: the API server is asked about each
	askedPerPodSecond, askedPodAtOnce = 0.2, 10
)

// Issuer gives certificates to workloads: the service that Istio's agents and weft's ask. Its methods are safe for concurrent use.
type Issuer struct {
	o      IssuerOptions
	all    *rate.Limiter
	issued prometheus.Counter
	refuse *prometheus.CounterVec

	pods *limit.Each[string]
}

// NewIssuer makes one. The error is about options that are missing, or metrics that cannot be registered.
func NewIssuer(o IssuerOptions) (*Issuer, error) {
	if o.Authority == nil || o.Tokens == nil {
		return nil, errors.New("identity: Authority and Tokens must be given")
	}
	o.TrustDomain = cmp.Or(o.TrustDomain, "cluster.local")
	o.MaxLife = cmp.Or(o.MaxLife, 90*24*time.Hour)
	o.Life = min(cmp.Or(o.Life, 24*time.Hour), o.MaxLife)
	o.Log = cmp.Or(o.Log, slog.Default())
	if o.Life <= 0 {
		return nil, fmt.Errorf("identity: certificates of %v are none", o.Life)
	}
	i := &Issuer{
		o: o, all: rate.NewLimiter(askedPerSecond, askedAtOnce), pods: limit.NewEach[string](askedPerPodSecond, askedPodAtOnce),
		issued: prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_ca_certificates_issued_total", Help: "Certificates given to workloads."}),
		refuse: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_ca_requests_refused_total", Help: "Requests for a certificate that were not granted."}, []string{"reason"}),
	}
	for _, r := range reasons() {
		i.refuse.WithLabelValues(string(r))
	}
	if o.Registerer == nil {
		return i, nil
	}
	expiry := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weft_ca_expiry_timestamp_seconds", Help: "When the certificate of the authority ends; 0 if there is none yet."}, func() float64 {
		if ca := o.Authority.CA(); ca != nil {
			return float64(ca.cert.NotAfter.Unix())
		}
		return 0
	})
	for _, c := range []prometheus.Collector{i.issued, i.refuse, expiry} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("identity: register metrics: %w", err)
		}
	}
	return i, nil
}

// CreateCertificate implements [istioca.Server]. Who the caller is comes from its token alone.
func (i *Issuer) CreateCertificate(ctx context.Context, r *istioca.Request) (*istioca.Response, error) {
	from := ""
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		from = p.Addr.String()
	}
	chain, account, err := i.create(ctx, r)
	if err == nil {
		i.issued.Inc()
		return &istioca.Response{Chain: chain}, nil
	}
	why := &refusal{unavailable, err.Error()}
	_ = errors.As(err, &why)
	i.refuse.WithLabelValues(string(why.reason)).Inc()
	i.o.Log.Warn("a certificate is refused", "peer", from, "account", account.String(), "reason", string(why.reason), "error", why.text)
	return nil, status.Error(why.reason.code(), why.text)
}

func (i *Issuer) create(ctx context.Context, r *istioca.Request) (chain []string, account Account, err error) {
	token, err := Bearer(ctx)
	if err != nil {
		return nil, account, refuse(unauthenticated, "%v", err)
	}
	if !i.all.Allow() {
		return nil, account, refuse(tooOften, "too many certificates are asked for at once")
	}
	if account, err = i.o.Tokens.Review(ctx, token); err != nil {
		if errors.Is(err, ErrRejected) {
			return nil, account, refuse(unauthenticated, "%v", err)
		}
		return nil, account, err
	}
	if !i.pods.Allow(cmp.Or(account.PodUID, account.String())) {
		return nil, account, refuse(tooOften, "%v asks for certificates too often", account)
	}
	for _, field := range []string{"ImpersonatedIdentity", "CertSigner"} { // of Istio: a node's proxy that asks for its Pods, and authorities by name
		if v := r.Metadata.GetFields()[field].GetStringValue(); v != "" {
			return nil, account, refuse(unsupported, "metadata.%s: %.100q is not supported", field, v)
		}
	}
	id := ID(i.o.TrustDomain, account.Namespace, account.ServiceAccount)
	public, err := readCSR(r.CSR, id)
	if err != nil {
		return nil, account, err
	}
	chain, err = i.sign(id, public, i.life(r.ValiditySeconds), account)
	return chain, account, err
}

// life is for how long a certificate is given that is asked for so many seconds.
func (i *Issuer) life(seconds int64) time.Duration {
	switch {
	case seconds <= 0:
		return i.o.Life
	case seconds > int64(i.o.MaxLife/time.Second):
		return i.o.MaxLife
	}
	return time.Duration(seconds) * time.Second
}

func (i *Issuer) sign(id *url.URL, public any, life time.Duration, account Account) (chain []string, err error) {
	ca := i.o.Authority.CA()
	if ca == nil {
		return nil, errNoAuthority
	}
	leaf, until, err := ca.workload(id, public, life)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", id, err)
	}
	for _, der := range append([][]byte{leaf}, ca.between...) {
		chain = append(chain, string(encode(der)))
	}
	i.o.Log.Info("a certificate is issued", "identity", id.String(), "pod", account.Pod, "until", until)
	return append(chain, string(ca.roots)), nil
}

// Bearer gives the token that a call came with.
func Bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return "", errors.New("one bearer token is wanted")
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return "", errors.New("a bearer token is wanted")
	}
	return token, nil
}
