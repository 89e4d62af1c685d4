package http2

import (
	"strings"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// block is what a field block is, which decides what may be in it.
type block uint8

const (
	requestBlock block = iota
	responseBlock
	trailerBlock
	ignoredBlock // decoded because the tables must be kept in step, for nobody
)

// Pseudo-header fields, as bits.
const (
	pseudoMethod = 1 << iota
	pseudoScheme
	pseudoAuthority
	pseudoPath
	pseudoProtocol
	pseudoStatus
)

// decoder reads field blocks into messages and judges them.
type decoder struct {
	blocks blocks
	limit  int // bytes of a list, as RFC 9113 section 6.5.2 counts them

	// Of the block that is being read.
	kind     block
	request  *message.Request
	response *message.Response
	fields   *message.Fields
	size     int
	pseudo   uint8
	regular  bool // a field that is no pseudo-header was there
	cookies  int
	host     string
	hosts    int
	length   int64  // content-length, -1 without
	wrong    string // what makes the message malformed (section 8.1.1)
}

func newDecoder(limit int) *decoder {
	d := &decoder{limit: limit}
	d.blocks = blocks{table: table{max: tableBytes}, allowed: tableBytes, emit: d.field}
	return d
}

// tooLarge tells whether the block that was read has more than the limit. The message then has a part of it.
func (d *decoder) tooLarge() bool { return d.size > d.limit }

// readRequest reads a block into r, which is empty.
func (d *decoder) readRequest(p []byte, r *message.Request) error {
	r.Version = message.HTTP2
	d.request, d.fields = r, &r.Fields
	err := d.read(p, requestBlock)
	if err == nil && d.wrong == "" && !d.tooLarge() {
		d.finishRequest(r)
	}
	return err
}

func (d *decoder) readResponse(p []byte, r *message.Response) error {
	d.response, d.fields = r, &r.Fields
	err := d.read(p, responseBlock)
	if d.pseudo&pseudoStatus == 0 {
		d.malformed("a response without :status")
	}
	return err
}

func (d *decoder) readTrailers(p []byte, f *message.Fields) error {
	d.fields = f
	return d.read(p, trailerBlock)
}

func (d *decoder) ignore(p []byte) error { return d.read(p, ignoredBlock) }

// read decodes a whole block. An error means that the tables are out of step: the connection cannot go on.
func (d *decoder) read(p []byte, kind block) error {
	d.kind, d.size, d.pseudo, d.regular, d.cookies, d.host, d.hosts, d.length, d.wrong = kind, 0, 0, false, 0, "", 0, -1, ""
	d.blocks.quiet = kind == ignoredBlock
	err := d.blocks.read(p, d.fields)
	d.request, d.response, d.fields = nil, nil, nil
	return err
}

func (d *decoder) malformed(why string) {
	if d.wrong == "" {
		d.wrong = why
	}
}

// field takes a field of the block. One that is sound was looked at before: names and values that repeat are in the tables.
func (d *decoder) field(name, value string, sound bool) bool {
	d.size += len(name) + len(value) + 32
	if d.size > d.limit {
		d.blocks.quiet = true // the rest of the block only keeps the tables in step
		return sound
	}
	if d.wrong != "" {
		return sound
	}
	if len(name) > 0 && name[0] == ':' {
		return d.pseudoField(name, value, sound)
	}
	d.regular = true
	switch {
	case !sound && !validName(name):
		d.wrong = "a field name with bytes that may not be in one"
		return false
	case !sound && !validValue(value):
		d.wrong = "a field value with bytes that may not be in one, or white space around it"
		return false
	}
	d.regularField(name, value)
	return true
}

func (d *decoder) regularField(name, value string) {
	switch {
	case ofConnection(name):
		d.wrong = "a field that concerns the connection: " + name
	case name == "te" && value != "trailers":
		d.wrong = "te with something else than trailers"
	case name == "content-length":
		n, ok := parseLength(value)
		if !ok || d.length >= 0 || d.kind == trailerBlock {
			d.wrong = "content-length that is no number, twice, or in trailers"
		}
		d.length = n
	case name == "host" && d.kind == requestBlock:
		d.hosts++
		d.host = value
	case name == "host" && d.kind == trailerBlock:
		d.wrong = "host in trailers"
	default:
		if name == "cookie" {
			d.cookies++
		}
		d.fields.Add(name, value)
	}
}

// pseudoField takes a pseudo-header field. A connection has them all in one direction, so a value that was valid is so again.
func (d *decoder) pseudoField(name, value string, sound bool) bool {
	var bit uint8
	valid := sound
	switch {
	case d.kind == responseBlock && name == ":status":
		n, ok := parseLength(value)
		bit, valid, d.response.Status = pseudoStatus, len(value) == 3 && ok && n >= 100, int(n)
	case d.kind != requestBlock:
	case name == ":method":
		bit, valid, d.request.Method = pseudoMethod, valid || validMethod(value), value
	case name == ":scheme":
		bit, valid, d.request.Scheme = pseudoScheme, valid || value == "http" || value == "https", value
	case name == ":authority":
		bit, valid, d.request.Authority = pseudoAuthority, valid || validAuthority(value), value
	case name == ":path":
		bit, valid, d.request.Path = pseudoPath, valid || value != "" && (value[0] == '/' || value == "*") && consistsOf(value, inPath), value
	case name == ":protocol":
		bit, valid, d.request.Protocol = pseudoProtocol, valid || validMethod(value), value
	}
	switch {
	case bit == 0:
		d.wrong = "a pseudo-header field that may not be here"
	case d.regular:
		d.wrong = name + " after other fields"
	case d.pseudo&bit != 0:
		d.wrong = name + " twice"
	case !valid:
		d.wrong = "the value of " + name
	}
	d.pseudo |= bit
	return bit != 0 && valid
}

// finishRequest judges a request whose fields are all there (sections 8.3.1 and 8.5; RFC 8441 section 4).
func (d *decoder) finishRequest(r *message.Request) {
	const usual = pseudoMethod | pseudoScheme | pseudoPath
	switch {
	case r.Method == "CONNECT" && r.Protocol == "":
		if d.pseudo != pseudoMethod|pseudoAuthority || r.Authority == "" {
			d.wrong = "CONNECT has a method and an authority, nothing else"
		}
	case d.pseudo&usual != usual:
		d.wrong = "a request without :method, :scheme or :path"
	case r.Protocol != "" && r.Method != "CONNECT":
		d.wrong = ":protocol without CONNECT"
	case r.Path == "*" && r.Method != "OPTIONS":
		d.wrong = "the path * without OPTIONS"
	}
	switch {
	case d.hosts > 1:
		d.malformed("host twice")
	case d.hosts == 1 && d.pseudo&pseudoAuthority != 0 && !strings.EqualFold(d.host, r.Authority):
		d.malformed("host differs from :authority")
	case d.hosts == 1 && !validAuthority(d.host):
		d.malformed("the value of host")
	case d.hosts == 0 && d.pseudo&pseudoAuthority == 0:
		d.malformed("a request without :authority or host")
	case d.hosts == 1:
		r.Authority = d.host
	}
	if d.cookies > 1 && d.wrong == "" {
		joinCookies(&r.Fields)
	}
}

// joinCookies makes one field of those that the peer split to compress them better (section 8.2.3).
func joinCookies(f *message.Fields) {
	var all []byte
	for _, field := range f.All() {
		if field.Name == "cookie" {
			if all != nil {
				all = append(all, "; "...)
			}
			all = append(all, field.Value...)
		}
	}
	f.Set("cookie", f.Copy(all))
}
