package http1

import (
	"bytes"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// fields reads a field section up to and with its empty line. Names are lowered in place. c takes what concerns the connection; it is nil for trailers.
func fields(b []byte, max int, to *message.Fields, c *connection) error {
	for n := 0; ; n++ {
		if len(b) == 2 && b[0] == '\r' && b[1] == '\n' {
			return nil
		}
		i := 0
		for i < len(b) {
			ch := lower[b[i]]
			if ch == 0 {
				break
			}
			b[i] = ch
			i++
		}
		switch {
		case i == 0 && len(b) > 0 && (b[0] == ' ' || b[0] == '\t'):
			return ErrFieldFold
		case i == 0 || i == len(b) || b[i] != ':':
			return ErrFieldName
		case n == max:
			return ErrFieldCount
		}
		name := view(b[:i])
		b = b[i+1:]
		end := bytes.IndexByte(b, '\n')
		if end < 1 || b[end-1] != '\r' {
			return ErrLineEnd
		}
		if !isValue(b[:end-1]) {
			return ErrFieldValue
		}
		value := trim(view(b[:end-1]))
		b = b[end+1:]
		if c == nil {
			if err := trailer(name, value, to); err != nil {
				return err
			}
			continue
		}
		taken, err := c.take(name, value)
		if err != nil {
			return err
		}
		if !taken {
			to.Add(name, value)
		}
	}
}

// ParseRequest reads a head that a Finder found. The bytes are the request's from then on, which is made of views of them; maxFields is how many
// fields it may have. Scheme is not set. The request must be reset.
func ParseRequest(head []byte, maxFields int, r *message.Request) (f Framing, err error) {
	if len(head) >= 2 && head[0] == '\r' && head[1] == '\n' {
		head = head[2:]
	}
	end := bytes.IndexByte(head, '\n')
	if end < 1 || head[end-1] != '\r' {
		return f, ErrLineEnd
	}
	target, err := requestLine(head[:end-1], r)
	if err != nil {
		return f, err
	}
	c := connection{length: -1}
	if err := fields(head[end+1:], maxFields, &r.Fields, &c); err != nil {
		return f, err
	}
	if err := takeRequestFields(&r.Fields, &c); err != nil {
		return f, err
	}
	if err := c.apply(&r.Fields); err != nil {
		return f, err
	}
	if c.trailers {
		r.Fields.Add("te", "trailers")
	}
	if err := c.authority(target, r); err != nil {
		return f, err
	}
	return c.requestFraming(r)
}

// requestLine reads method and version, and gives the target (RFC 9112 section 3). There is one space on both sides of it, no more.
func requestLine(line []byte, r *message.Request) (target []byte, err error) {
	i := 0
	for i < len(line) && lower[line[i]] != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return nil, ErrMethod
	}
	r.Method = view(line[:i])
	j := bytes.LastIndexByte(line, ' ')
	if j <= i+1 {
		return nil, ErrRequestLine
	}
	r.Version, err = version(view(line[j+1:]), ErrRequestLine)
	return line[i+1 : j], err
}

func version(s string, malformed *Error) (message.Version, error) {
	switch {
	case s == "HTTP/1.1":
		return message.HTTP11, nil
	case s == "HTTP/1.0":
		return message.HTTP10, nil
	case len(s) == 8 && s[:5] == "HTTP/" && s[5]-'0' <= 9 && s[6] == '.' && s[7]-'0' <= 9:
		return 0, ErrVersion
	}
	return 0, malformed
}

// takeRequestFields takes out those that are in the message otherwise.
func takeRequestFields(fields *message.Fields, c *connection) error {
	for _, f := range fields.All() {
		switch f.Name {
		case "host":
			c.host = f.Value
			c.nHost++
		case "expect":
			if !isFold(f.Value, "100-continue") {
				return ErrExpect
			}
			c.expects = true
		}
	}
	if c.nHost > 0 {
		fields.Del("host")
	}
	if c.expects {
		fields.Del("expect")
	}
	return nil
}

// authority decides what the target means (RFC 9112 section 3.2).
func (c *connection) authority(target []byte, r *message.Request) error {
	switch ok, _ := isAuthority(c.host); {
	case c.nHost > 1, c.nHost == 1 && !ok, c.nHost == 0 && r.Version == message.HTTP11:
		return ErrHost
	}
	r.Authority = c.host
	s := view(target)
	switch {
	case r.Method == "CONNECT":
		if ok, port := isAuthority(s); !ok || !port {
			return targetError(s)
		}
		r.Authority = s
		return nil
	case s[0] == '/':
	case s == "*" && r.Method == "OPTIONS":
	case len(s) > 7 && isFold(s[:7], "http://"):
		return absolute(target, 7, r)
	case len(s) > 8 && isFold(s[:8], "https://"):
		return absolute(target, 8, r)
	default:
		return targetError(s)
	}
	if !isTarget(target) {
		return ErrTarget
	}
	r.Path = s
	return nil
}

func targetError(s string) error {
	for i := range len(s) {
		if s[i] == '@' {
			return ErrUserinfo
		}
	}
	return ErrTarget
}

// absolute reads the absolute form, whose authority begins at start and wins over Host (RFC 9112 section 3.2.2).
func absolute(target []byte, start int, r *message.Request) error {
	end := start
	for end < len(target) && target[end] != '/' && target[end] != '?' && target[end] != '#' {
		end++
	}
	if ok, _ := isAuthority(view(target[start:end])); !ok {
		return targetError(view(target[start:end]))
	}
	if !isTarget(target[end:]) {
		return ErrTarget
	}
	r.Authority = view(target[start:end])
	switch {
	case end == len(target) && r.Method == "OPTIONS":
		r.Path = "*" // RFC 9112 section 3.2.4
	case end == len(target):
		r.Path = "/"
	case target[end] == '/':
		r.Path = view(target[end:])
	default: // only a query: room for its slash is made in front
		copy(target[start-1:], target[start:end])
		target[end-1] = '/'
		r.Authority, r.Path = view(target[start-1:end-1]), view(target[end-1:])
	}
	return nil
}

// requestFraming is RFC 9112 section 6.3 for requests.
func (c *connection) requestFraming(r *message.Request) (f Framing, err error) {
	f.Version = r.Version
	f.Chunked, err = c.transferEncoding(r.Version)
	if err != nil {
		return f, err
	}
	switch {
	case f.Chunked:
		f.Length = message.Unknown
	case c.length > 0:
		f.Length = c.length
	}
	f.Close = !c.persists(r.Version)
	f.Bodiless = f.Length == message.NoBody
	f.Continue = c.expects && !f.Bodiless && r.Version == message.HTTP11
	if r.Method == "CONNECT" && (f.Chunked || c.length >= 0) {
		return f, ErrConnectBody
	}
	// A request to upgrade that has a body may be served without upgrading (RFC 9110 section 7.8), and HTTP/2 is not begun that way.
	if c.upgradable && c.nUpgrade == 1 && f.Bodiless && r.Version == message.HTTP11 && r.Method != "CONNECT" && isProtocol(c.upgrade) {
		b := bytesOf(c.upgrade)
		for i, ch := range b {
			if ch != '/' {
				b[i] = lower[ch]
			}
		}
		if c.upgrade != "h2c" {
			r.Protocol = c.upgrade
		}
	}
	return f, nil
}

// isProtocol tells whether s is one protocol, with or without a version.
func isProtocol(s string) bool {
	name, v, versioned := s, "", false
	for i := range len(s) {
		if s[i] == '/' {
			name, v, versioned = s[:i], s[i+1:], true
			break
		}
	}
	return isToken(name) && (!versioned || isToken(v))
}

// ParseResponse reads a head that a Finder found, as the response to a request. Otherwise it is as ParseRequest. Its errors carry the status for
// requests; here each means that the server broke the protocol.
func ParseResponse(head []byte, maxFields int, to Asked, r *message.Response) (f Framing, err error) {
	end := bytes.IndexByte(head, '\n')
	if end < 1 || head[end-1] != '\r' {
		return f, ErrLineEnd
	}
	if f.Version, err = statusLine(head[:end-1], r); err != nil {
		return f, err
	}
	c := connection{length: -1}
	if err := fields(head[end+1:], maxFields, &r.Fields, &c); err != nil {
		return f, err
	}
	if err := c.apply(&r.Fields); err != nil {
		return f, err
	}
	return f, c.responseFraming(to, r.Status, &f)
}

// statusLine reads the version and the status; the reason phrase may be missing, with the space in front of it.
func statusLine(line []byte, r *message.Response) (message.Version, error) {
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' || !isValue(line) {
		return 0, ErrStatusLine
	}
	for _, ch := range line[9:12] {
		if ch < '0' || ch > '9' {
			return 0, ErrStatusLine
		}
		r.Status = r.Status*10 + int(ch-'0')
	}
	if r.Status < 100 {
		return 0, ErrStatusLine
	}
	return version(view(line[:8]), ErrStatusLine)
}

// responseFraming is RFC 9112 section 6.3 for responses.
func (c *connection) responseFraming(to Asked, status int, f *Framing) (err error) {
	f.Close = !c.persists(f.Version)
	switch {
	case status == 101:
		if to.Protocol == "" || f.Version != message.HTTP11 {
			return ErrUnasked
		}
		f.Tunnel, f.Length = true, message.Unknown
		return nil
	case to.Method == "CONNECT" && to.Protocol == "" && status >= 200 && status < 300:
		f.Tunnel, f.Length = true, message.Unknown
		return nil
	case status < 200 || status == 204:
		// There is no body; a server that announces one may send it all the same, so nothing after it is trusted.
		f.Bodiless, f.Close = true, f.Close && status >= 200 || c.nTE > 0 || c.length > 0
		return nil
	}
	if f.Chunked, err = c.transferEncoding(f.Version); err != nil {
		return err
	}
	f.Length = c.length // -1 is message.Unknown
	f.Bodiless = to.Method == "HEAD" || status == 304 || f.Length == message.NoBody
	if f.Bodiless {
		f.Chunked = false
	} else if f.Length == message.Unknown && !f.Chunked {
		f.Close = true
	}
	return nil
}
