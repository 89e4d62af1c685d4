package istio

import (
	"math/big"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/model"
)

// simpleBalance is Istio's simple load balancers. Those that are not here are the default.
var simpleBalance = map[networking.LoadBalancerSettings_SimpleLB]model.Balance{
	networking.LoadBalancerSettings_RANDOM:      model.Random,
	networking.LoadBalancerSettings_PASSTHROUGH: model.Passthrough,
	networking.LoadBalancerSettings_ROUND_ROBIN: model.RoundRobin,
}

func (s spot) loadBalancer(in *networking.LoadBalancerSettings) *model.LoadBalancer {
	if in == nil {
		return nil
	}
	out := &model.LoadBalancer{Balance: simpleBalance[in.GetSimple()]}
	if h := in.GetConsistentHash(); h != nil {
		s.in("consistentHash").consistentHash(h, out)
	}
	switch w := in.Warmup; {
	case w != nil && w.Duration == nil:
		s.in("warmup.duration").errorf(codeMissing, "is needed; new endpoints get their full share at once")
	case w != nil:
		out.Warmup = s.in("warmup.duration").duration(w.Duration)
		s.in("warmup.minimumPercent").unsupported(w.MinimumPercent != nil)
		s.in("warmup.aggression").unsupported(w.Aggression != nil)
	case in.WarmupDurationSecs != nil: //nolint:staticcheck // deprecated, and still in use
		out.Warmup = s.in("warmupDurationSecs").duration(in.WarmupDurationSecs) //nolint:staticcheck // as above
	}
	s.in("localityLbSetting").locality(in.LocalityLbSetting)
	s.in("zoneAwareLbSetting").unsupported(in.ZoneAwareLbSetting != nil)
	return out
}

func (s spot) consistentHash(in *networking.LoadBalancerSettings_ConsistentHashLB, out *model.LoadBalancer) {
	out.Balance = model.RingHash
	out.MinRing = in.GetRingHash().GetMinimumRingSize()
	if older := in.MinimumRingSize; older != 0 { //nolint:staticcheck // deprecated, and still in use
		if in.HashAlgorithm != nil {
			s.in("minimumRingSize").errorf(codeConflict, "has no effect beside ringHash or maglev")
		} else {
			out.MinRing = older
		}
	}
	if m := in.GetMaglev(); m != nil {
		out.Balance = model.Maglev
		if m.TableSize >= 5000011 || m.TableSize != 0 && !new(big.Int).SetUint64(m.TableSize).ProbablyPrime(0) {
			s.in("maglev.tableSize").errorf(codeValue, "%d is not a prime below 5000011; the default is used", m.TableSize)
		} else {
			out.Table = m.TableSize
		}
	}
	var on model.HashOn
	switch k := in.HashKey.(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		if on.Header = strings.ToLower(k.HttpHeaderName); !isToken(strings.TrimPrefix(on.Header, ":")) {
			s.in("httpHeaderName").errorf(codeHeader, "%q is no name of a header; nothing is hashed", k.HttpHeaderName)
			return
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		if !isToken(k.HttpCookie.GetName()) {
			s.in("httpCookie.name").errorf(codeName, "%q is no name of a cookie; nothing is hashed", k.HttpCookie.GetName())
			return
		}
		on.Cookie = &model.HashCookie{Name: k.HttpCookie.Name, Path: k.HttpCookie.Path}
		if t := k.HttpCookie.Ttl; t != nil {
			ttl := t.AsDuration()
			if t.CheckValid() != nil || ttl < 0 {
				s.in("httpCookie.ttl").errorf(codeDuration, "%v cannot be how long a cookie lives; it is kept for the session", ttl)
				ttl = 0
			}
			on.Cookie.TTL = &ttl
		}
		s.in("httpCookie.attributes").unsupported(len(k.HttpCookie.Attributes) > 0)
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		on.SourceIP = k.UseSourceIp
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		on.Query = k.HttpQueryParameterName
	}
	if on == (model.HashOn{}) {
		s.errorf(codeMissing, "one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName is needed; nothing is hashed")
		return
	}
	out.Hash = []model.HashOn{on}
}

// locality says what there is not: near endpoints are never preferred, so that only turning it off is obeyed.
func (s spot) locality(in *networking.LocalityLoadBalancerSetting) {
	s.in("enabled").unsupported(in.GetEnabled().GetValue())
	s.in("distribute").unsupported(len(in.GetDistribute()) > 0)
	s.in("failover").unsupported(len(in.GetFailover()) > 0)
	s.in("failoverPriority").unsupported(len(in.GetFailoverPriority()) > 0)
}

func (s spot) connectionPool(in *networking.ConnectionPoolSettings) *model.Connections {
	if in == nil {
		return nil
	}
	out := &model.Connections{}
	if t := in.Tcp; t != nil {
		at := s.in("tcp")
		out.Max = at.in("maxConnections").count(t.MaxConnections)
		out.ConnectTimeout = at.in("connectTimeout").duration(t.ConnectTimeout)
		out.MaxLifetime = at.in("maxConnectionDuration").duration(t.MaxConnectionDuration)
		if t.IdleTimeout.AsDuration() != 0 || t.IdleTimeout == nil {
			out.Idle = at.in("idleTimeout").duration(t.IdleTimeout)
		} else {
			at.in("idleTimeout").unsupported(true)
		}
		if k := t.TcpKeepalive; k != nil {
			out.KeepaliveTime, out.KeepaliveEvery = at.in("tcpKeepalive.time").duration(k.Time), at.in("tcpKeepalive.interval").duration(k.Interval)
			out.KeepaliveCount = k.Probes
		}
	}
	if h := in.Http; h != nil {
		at := s.in("http")
		out.MaxPending = at.in("http1MaxPendingRequests").count(h.Http1MaxPendingRequests)
		out.MaxRequests = at.in("http2MaxRequests").count(h.Http2MaxRequests)
		out.MaxRequestsPerTCP = at.in("maxRequestsPerConnection").count(h.MaxRequestsPerConnection)
		out.MaxRetries = at.in("maxRetries").count(h.MaxRetries)
		if h.IdleTimeout != nil {
			out.Idle = at.in("idleTimeout").duration(h.IdleTimeout)
		}
		out.HTTP2 = at.http2(h)
		at.in("maxConcurrentStreams").unsupported(h.MaxConcurrentStreams != 0)
		at.in("http2KeepAlive").unsupported(h.Http2KeepAlive != nil)
	}
	return out
}

func (s spot) http2(h *networking.ConnectionPoolSettings_HTTPSettings) model.HTTP2Use {
	upgrade := h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE
	if upgrade && h.UseClientProtocol {
		s.in("useClientProtocol").errorf(codeConflict, "has no effect beside h2UpgradePolicy UPGRADE")
	}
	switch {
	case upgrade:
		return model.HTTP2Always
	case h.UseClientProtocol:
		return model.HTTP2AsClient
	case h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		return model.HTTP2Never
	}
	return model.HTTP2AsDeclared
}

func (s spot) outlierDetection(in *networking.OutlierDetection) *model.OutlierDetection {
	if in == nil {
		return nil
	}
	out := &model.OutlierDetection{
		Consecutive5xx: number(in.Consecutive_5XxErrors), ConsecutiveGateway: number(in.ConsecutiveGatewayErrors), SplitLocal: in.SplitExternalLocalOriginErrors,
		Interval: s.in("interval").duration(in.Interval), BaseEjection: s.in("baseEjectionTime").duration(in.BaseEjectionTime),
		MaxEjected: s.in("maxEjectionPercent").percent(in.MaxEjectionPercent), MinHealthy: s.in("minHealthPercent").percent(in.MinHealthPercent),
	}
	if n := in.ConsecutiveLocalOriginFailures; n.GetValue() > 0 && !in.SplitExternalLocalOriginErrors {
		s.in("consecutiveLocalOriginFailures").errorf(codeConflict, "has no effect without splitExternalLocalOriginErrors")
	} else {
		out.ConsecutiveLocal = number(n)
	}
	if in.ConsecutiveErrors != 0 { //nolint:staticcheck // deprecated, and to be told of
		s.in("consecutiveErrors").warnf(codeNoEffect, "has no effect any more: use consecutive5xxErrors or consecutiveGatewayErrors")
	}
	s.in("outlierDetectionHttpErrorCodes").unsupported(len(in.OutlierDetectionHttpErrorCodes) > 0)
	return out
}

func number(v *wrapperspb.UInt32Value) *uint32 {
	if v == nil {
		return nil
	}
	n := v.Value // the message is not ours
	return &n
}

func (s spot) percent(v int32) uint32 {
	share, _ := s.percentage(float64(v))
	return uint32(share)
}

// clientTLS never makes less of TLS than was asked for: what cannot be honoured leaves the server verified by the CAs of the system, and the
// connection refused rather than made in plaintext.
func (s spot) clientTLS(in *networking.ClientTLSSettings) *model.ClientTLS {
	if in == nil {
		return nil
	}
	out := &model.ClientTLS{SNI: in.Sni, SANs: in.SubjectAltNames, Insecure: in.InsecureSkipVerify.GetValue()}
	switch in.Mode {
	case networking.ClientTLSSettings_DISABLE:
		return &model.ClientTLS{}
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		out.Mode = model.TLSMesh
		return out
	case networking.ClientTLSSettings_MUTUAL:
		out.Mode = model.TLSMutual
	default:
		out.Mode = model.TLSSimple
	}
	files := in.ClientCertificate != "" || in.PrivateKey != "" || in.CaCertificates != "" || in.CaCrl != ""
	switch {
	case files && in.CredentialName != "":
		s.errorf(codeConflict, "clientCertificate, privateKey, caCertificates and caCrl have no effect beside credentialName")
	case files:
		s.errorf(codeUnsupported, "clientCertificate, privateKey, caCertificates and caCrl name files, which is not supported: use credentialName")
	}
	if out.Insecure && (in.CaCertificates != "" || len(in.SubjectAltNames) > 0) {
		s.in("insecureSkipVerify").errorf(codeConflict, "has no effect beside caCertificates or subjectAltNames; the server is verified")
		out.Insecure = false
	}
	if in.CredentialName != "" {
		if n, ok := secretName(in.CredentialName, s.in("credentialName")); ok {
			out.Credential = &n
			s.in("credentialName").warnf(codeUnsupported, "only gateways are given the Secret: connections of sidecars that the rule is for are refused")
		}
	}
	if out.Mode == model.TLSMutual && out.Credential == nil {
		s.in("credentialName").errorf(codeMissing, "mode MUTUAL needs it; no certificate is shown")
		out.Mode = model.TLSSimple
	}
	return out
}
