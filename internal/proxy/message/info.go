package message

import (
	"net/netip"
	"strings"
	"time"
)

// Info is what is known of one exchange while it runs: what matchers, header formatters, filters and the access log read. Whoever runs the exchange
// owns it and fills it in as things become known; what is not known is zero. Readers change nothing but Flags and what they say they change.
type Info struct {
	Request  *Request
	Response *Response // nil until there is one

	Start  time.Time
	Random uint64 // drawn once for the exchange: fractions and weights are decided by it, so deciding twice gives the same
	Flags  Flags
	// Details says in a word or two who made the response and why ("via_upstream", "route_not_found"), as %RESPONSE_CODE_DETAILS% does.
	Details string
	// Termination says why we ended a connection, where that was not about an exchange. What a client ended or broke is in Details.
	Termination string

	Client netip.AddrPort // who asked, as far as proxies in front are trusted to tell
	Source netip.AddrPort // who connected, by what the PROXY protocol says if it is trusted
	Peer   netip.AddrPort // the other end of the connection
	Local  netip.AddrPort // our end of it
	// ConnectionID is unique among the connections of this process.
	ConnectionID uint64

	ServerName                                     string // of the TLS handshake (SNI)
	TLSVersion, TLSCipher, PeerURISAN, PeerSubject string
	Secure                                         bool     // the client speaks TLS
	PeerNames                                      []string // of the client's certificate, which was verified: its URIs, then its DNS names
	RouteName, VirtualHost, Origin                 string   // Origin is the rule that it came from
	UpstreamCluster, UpstreamFailure               string
	Upstream, UpstreamLocal                        netip.AddrPort
	Attempts                                       int
	BytesReceived, BytesSent                       int64         // of bodies
	Duration, RequestDuration, ResponseDuration    time.Duration // from Start to: the end, the request's last byte, the response's head

	Metadata []Metadata // what filters say for those that come after; see SetMetadata
}

// Flags is what befell an exchange, in the words of Envoy's response flags.
type Flags uint32

// The flags, in the order in which they are written.
const (
	NoHealthyUpstream         Flags = 1 << iota // UH
	UpstreamConnectionFailure                   // UF
	UpstreamOverflow                            // UO
	NoRoute                                     // NR
	UpstreamRetryLimit                          // URX
	NoCluster                                   // NC
	DurationTimeout                             // DT
	DownstreamTermination                       // DC
	LocalReset                                  // LR
	UpstreamReset                               // UR
	UpstreamTermination                         // UC
	DelayInjected                               // DI
	FaultInjected                               // FI
	RateLimited                                 // RL
	Unauthorized                                // UAEX
	StreamIdleTimeout                           // SI
	DownstreamProtocolError                     // DPE
	UpstreamProtocolError                       // UPE
	UpstreamRequestTimeout                      // UT
	UpstreamMaxStreamDuration                   // UMSDR
	OverloadManager                             // OM
)

var flagNames = [...]string{
	"UH", "UF", "UO", "NR", "URX", "NC", "DT", "DC", "LR", "UR", "UC", "DI", "FI", "RL", "UAEX", "SI", "DPE", "UPE", "UT", "UMSDR", "OM",
}

// Append writes the flags' short names with commas between, and nothing when there are none.
func (f Flags) Append(dst []byte) []byte {
	start := len(dst)
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = append(dst, name...)
		}
	}
	return dst
}

// String is the flags as Append writes them, or "-".
func (f Flags) String() string {
	if f == 0 {
		return "-"
	}
	var b strings.Builder
	b.Write(f.Append(nil))
	return b.String()
}
