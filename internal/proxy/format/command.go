package format

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/proxy/match"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// plain is the commands without an argument.
var plain = map[string]command{
	"PROTOCOL":                          protocol,
	"RESPONSE_CODE_DETAILS":             text(func(x *message.Info) string { return x.Details }),
	"CONNECTION_TERMINATION_DETAILS":    text(func(x *message.Info) string { return x.Termination }),
	"RESPONSE_FLAGS":                    func(dst []byte, x *message.Info) []byte { return x.Flags.Append(dst) },
	"ROUTE_NAME":                        text(func(x *message.Info) string { return x.RouteName }),
	"VIRTUAL_HOST_NAME":                 text(func(x *message.Info) string { return x.VirtualHost }),
	"REQUESTED_SERVER_NAME":             text(func(x *message.Info) string { return x.ServerName }),
	"UPSTREAM_CLUSTER":                  text(func(x *message.Info) string { return x.UpstreamCluster }),
	"UPSTREAM_CLUSTER_RAW":              text(func(x *message.Info) string { return x.UpstreamCluster }),
	"UPSTREAM_TRANSPORT_FAILURE_REASON": text(func(x *message.Info) string { return x.UpstreamFailure }),
	"DOWNSTREAM_TLS_VERSION":            text(func(x *message.Info) string { return x.TLSVersion }),
	"DOWNSTREAM_TLS_CIPHER":             text(func(x *message.Info) string { return x.TLSCipher }),
	"DOWNSTREAM_PEER_URI_SAN":           text(func(x *message.Info) string { return x.PeerURISAN }),
	"DOWNSTREAM_PEER_SUBJECT":           text(func(x *message.Info) string { return x.PeerSubject }),

	"DOWNSTREAM_REMOTE_ADDRESS":                     address(client),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        host(client),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              address(peer),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": host(peer),
	"DOWNSTREAM_LOCAL_ADDRESS":                      address(local),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         host(local),
	"UPSTREAM_HOST":                                 address(upstream),
	"UPSTREAM_REMOTE_ADDRESS":                       address(upstream),
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":          host(upstream),
	"UPSTREAM_LOCAL_ADDRESS":                        address(upstreamLocal),
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":           host(upstreamLocal),
}

// numbers is the commands without an argument whose values are numbers; a negative one is no value.
var numbers = map[string]func(*message.Info) int64{
	"RESPONSE_CODE":    status,
	"BYTES_RECEIVED":   func(x *message.Info) int64 { return x.BytesReceived },
	"BYTES_SENT":       func(x *message.Info) int64 { return x.BytesSent },
	"DURATION":         func(x *message.Info) int64 { return x.Duration.Milliseconds() },
	"REQUEST_DURATION": func(x *message.Info) int64 { return positive(x.RequestDuration.Milliseconds(), x.RequestDuration != 0) },
	"RESPONSE_DURATION": func(x *message.Info) int64 {
		return positive(x.ResponseDuration.Milliseconds(), x.ResponseDuration != 0)
	},
	"UPSTREAM_REQUEST_ATTEMPT_COUNT": func(x *message.Info) int64 { return int64(x.Attempts) },
	"CONNECTION_ID":                  func(x *message.Info) int64 { return positive(int64(x.ConnectionID), x.ConnectionID != 0) },
	"DOWNSTREAM_REMOTE_PORT":         port(client),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":  port(peer),
	"DOWNSTREAM_LOCAL_PORT":          port(local),
	"UPSTREAM_REMOTE_PORT":           port(upstream),
	"UPSTREAM_LOCAL_PORT":            port(upstreamLocal),
}

// absent is commands of Envoy that nothing here has a value for: they stand for no value, since a text that Envoy takes should not cost its resource.
var absent = strings.Fields(`REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_FLAGS_LONG RESPONSE_TX_DURATION
	UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_PROTOCOL UPSTREAM_CONNECTION_ID UPSTREAM_METADATA STREAM_ID VIRTUAL_CLUSTER_NAME FILTER_CHAIN_NAME LISTENER_METADATA
	DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_PEER_ISSUER
	DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_CERT
	DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CERT_V_END TRAILER CLUSTER_METADATA FILTER_STATE METADATA`)

func (c call) compile(o Options) (part, error) {
	p := part{limit: c.limit}
	if !c.hasArgument {
		if n := numbers[c.name]; n != nil {
			p.put, p.number = number(n), c.limit == 0
			return p, nil
		}
		if p.put = plain[c.name]; p.put != nil {
			return p, nil
		}
	}
	var err error
	switch c.name {
	case "REQ":
		p.put, err = c.header(requestField)
	case "RESP":
		p.put, err = c.header(responseField)
	case "START_TIME":
		var l timeLayout
		l, err = newTimeLayout(c.argument)
		p.put = func(dst []byte, x *message.Info) []byte {
			if x.Start.IsZero() {
				return dst
			}
			return l.append(dst, x.Start.UTC())
		}
	case "DYNAMIC_METADATA":
		path := strings.Split(c.argument, ":")
		if len(path) < 2 {
			return p, fmt.Errorf("%s: a filter and a key are needed", c)
		}
		p.put = func(dst []byte, x *message.Info) []byte { return appendValue(dst, x.MetadataAt(path[0], path[1:])) }
	case "HOSTNAME":
		p.put = fixed(o.Hostname)
	case "ENVIRONMENT":
		value := ""
		if o.Getenv != nil {
			value = o.Getenv(c.argument)
		}
		p.put = fixed(value)
	case "QUERY_PARAM":
		p.put = func(dst []byte, x *message.Info) []byte {
			if x.Request == nil {
				return dst
			}
			_, query := match.Split(x.Request.Path)
			v, _ := match.Parameter(query, c.argument)
			return append(dst, v...)
		}
	default:
		switch {
		case c.name == "METADATA" && c.argument == "ROUTE:weft:origin": // where a route came from is the only metadata that is kept of it
			p.put = text(func(x *message.Info) string { return x.Origin })
		case slices.Contains(absent, c.name):
			p.put = fixed("")
		default:
			err = fmt.Errorf("%s: unknown command", c)
		}
	}
	return p, err
}

// header compiles the argument NAME?OTHER.
func (c call) header(get func(*message.Info, string) (string, bool)) (command, error) {
	first, second, _ := strings.Cut(strings.ToLower(c.argument), "?")
	if first == "" {
		return nil, fmt.Errorf("%s: which field?", c)
	}
	if first == "host" {
		first = ":authority"
	}
	if second == "host" {
		second = ":authority"
	}
	return func(dst []byte, x *message.Info) []byte {
		v, ok := get(x, first)
		if !ok && second != "" {
			v, _ = get(x, second)
		}
		return append(dst, v...)
	}, nil
}

// requestField gives the first field of a name, as Envoy does here.
func requestField(x *message.Info, name string) (string, bool) {
	switch {
	case x.Request == nil:
		return "", false
	case name[0] == ':':
		return match.Pseudo(x.Request, name)
	}
	return x.Request.Fields.Get(name)
}

func responseField(x *message.Info, name string) (string, bool) {
	switch {
	case x.Response == nil:
		return "", false
	case name == ":status":
		return strconv.Itoa(x.Response.Status), true
	}
	return x.Response.Fields.Get(name)
}

func protocol(dst []byte, x *message.Info) []byte {
	if x.Request == nil || x.Request.Version == 0 {
		return dst
	}
	return append(dst, x.Request.Version.String()...)
}

// status is 0 when no response was sent, as access logs want to see it.
func status(x *message.Info) int64 {
	if x.Response == nil {
		return 0
	}
	return int64(x.Response.Status)
}

func client(x *message.Info) netip.AddrPort        { return x.Client }
func peer(x *message.Info) netip.AddrPort          { return x.Peer }
func local(x *message.Info) netip.AddrPort         { return x.Local }
func upstream(x *message.Info) netip.AddrPort      { return x.Upstream }
func upstreamLocal(x *message.Info) netip.AddrPort { return x.UpstreamLocal }

func address(get func(*message.Info) netip.AddrPort) command {
	return func(dst []byte, x *message.Info) []byte {
		a := get(x)
		if !a.IsValid() {
			return dst
		}
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(dst)
	}
}

func host(get func(*message.Info) netip.AddrPort) command {
	return func(dst []byte, x *message.Info) []byte {
		a := get(x).Addr()
		if !a.IsValid() {
			return dst
		}
		return a.Unmap().WithZone("").AppendTo(dst)
	}
}

func port(get func(*message.Info) netip.AddrPort) func(*message.Info) int64 {
	return func(x *message.Info) int64 { return positive(int64(get(x).Port()), get(x).IsValid()) }
}

func text(get func(*message.Info) string) command {
	return func(dst []byte, x *message.Info) []byte { return append(dst, get(x)...) }
}

// appendValue writes a value of metadata: a string as it is, what has parts as JSON.
func appendValue(dst []byte, value any) []byte {
	switch v := value.(type) {
	case nil, message.Absent:
		return dst
	case string:
		return append(dst, v...)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return dst
	}
	return append(dst, text...)
}

func fixed(v string) command {
	return func(dst []byte, _ *message.Info) []byte { return append(dst, v...) }
}

func number(get func(*message.Info) int64) command {
	return func(dst []byte, x *message.Info) []byte {
		n := get(x)
		if n < 0 {
			return dst
		}
		return strconv.AppendInt(dst, n, 10)
	}
}

func positive(n int64, ok bool) int64 {
	if !ok {
		return -1
	}
	return n
}
