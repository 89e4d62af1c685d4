package http1

import "github.com/weftmesh/weft/internal/proxy/message"

// Framing is what a head says about its own connection: where the message ends, and what comes after it.
type Framing struct {
	Version message.Version
	// Length of the body in bytes, message.NoBody, or message.Unknown: then it is chunked, or ends with the connection. For the response to a HEAD
	// and for 304 it is what the fields told, and there is no body all the same (see Body).
	Length  int64
	Chunked bool
	// Bodiless: whatever Length says, no body follows.
	Bodiless bool
	// Tunnel: what follows is not HTTP, to the end of the connection.
	Tunnel bool
	// Close: no message follows this one on the connection.
	Close bool
	// Continue: the client waits for 100 before it sends the body.
	Continue bool
}

// Asked is what of a request decides how its response is framed.
type Asked struct {
	Method   string
	Protocol string // of Upgrade
	Version  message.Version
}

// connection is what the fields of a head that concern one connection say.
type connection struct {
	options    [4]string // the values of Connection
	nOptions   int
	length     int64 // -1: none
	te         string
	nTE        int
	upgrade    string
	nUpgrade   int
	host       string
	nHost      int
	close      bool
	keepAlive  bool
	upgradable bool // Connection: upgrade
	trailers   bool // TE: trailers
	expects    bool
}

// take notes a field that is not to be in a message's Fields. The name is in lower case.
func (c *connection) take(name, value string) (taken bool, err error) {
	switch name {
	case "connection":
		if c.nOptions == len(c.options) {
			return true, ErrConnection
		}
		c.options[c.nOptions] = value
		c.nOptions++
	case "content-length":
		if c.length >= 0 {
			return true, ErrContentLengths
		}
		c.length, err = parseLength(value)
	case "transfer-encoding":
		c.nTE++
		c.te = value
	case "upgrade":
		c.nUpgrade++
		c.upgrade = value
	case "te":
		for first, rest := element(value); ; first, rest = element(rest) {
			c.trailers = c.trailers || isFold(first, "trailers")
			if rest == "" {
				break
			}
		}
	case "keep-alive", "proxy-connection", "http2-settings":
	default:
		return false, nil
	}
	return true, err
}

// parseLength reads Content-Length: digits, nothing else (RFC 9110 section 8.6).
func parseLength(s string) (int64, error) {
	if s == "" || len(s) > 18 {
		return 0, ErrContentLength
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, ErrContentLength
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}

// maxNominated bounds the work that Connection can make.
const maxNominated = 16

// apply obeys the Connection field: it notes what is ours, and takes the fields out that are named there.
func (c *connection) apply(fields *message.Fields) error {
	nominated := 0
	for _, list := range c.options[:c.nOptions] {
		for list != "" {
			var option string
			option, list = element(list)
			switch {
			case option == "":
			case isFold(option, "close"):
				c.close = true
			case isFold(option, "keep-alive"):
				c.keepAlive = true
			case isFold(option, "upgrade"):
				c.upgradable = true
			case !isToken(option):
				return ErrConnection
			default:
				if nominated++; nominated > maxNominated {
					return ErrConnection
				}
				nominate(fields, option)
			}
		}
	}
	return nil
}

func nominate(fields *message.Fields, option string) {
	b := bytesOf(option)
	for i, ch := range b {
		b[i] = lower[ch]
	}
	if !endToEnd(option) {
		fields.Del(option)
	}
}

// endToEnd names fields that are not taken out because a Connection field names them: with it a client could have us remove what a proxy in front
// of us has put in, or what an application decides on. RFC 9110 section 7.6.1 asks senders not to name such.
func endToEnd(name string) bool {
	switch name {
	case "authorization", "cookie", "set-cookie", "www-authenticate", "forwarded", "via", "origin", "range", "date", "location", "vary",
		"cache-control", "expires", "age", "etag", "server", "accept", "user-agent", "referer", "traceparent", "tracestate", "baggage", "b3",
		"grpc-timeout", "grpc-status", "grpc-message", "trailer", "early-data", "true-client-ip", "cf-connecting-ip":
		return true
	}
	for _, prefix := range [...]string{"x-forwarded-", "x-envoy-", "x-real-", "x-client-", "x-request-", "x-b3-", "x-ot-", "x-istio-", "x-auth-", "x-ssl-", "content-", "if-", "sec-", "access-control-", "proxy-auth", "l5d-"} {
		if len(name) > len(prefix) && name[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

// transferEncoding decides whether the body is chunked (RFC 9112 section 6.1). Codings other than chunked are not known here, and a form in which
// chunked is not the one and last is refused, for requests and responses alike.
func (c *connection) transferEncoding(v message.Version) (chunked bool, err error) {
	switch {
	case c.nTE == 0:
		return false, nil
	case c.length >= 0:
		return false, ErrLengthAndChunked
	case v == message.HTTP10 || c.nTE > 1:
		return false, ErrTransferEncodings
	case isFold(c.te, "chunked"):
		return true, nil
	}
	first, rest := element(c.te)
	if !isToken(first) || isFold(first, "chunked") || isFold(first, "identity") || !isFold(trim(rest), "chunked") {
		return false, ErrTransferEncodings
	}
	return false, ErrTransferEncoding
}

// persists decides whether the sender lets the connection go on (RFC 9112 section 9.3).
func (c *connection) persists(v message.Version) bool {
	return !c.close && (v == message.HTTP11 || c.keepAlive)
}
