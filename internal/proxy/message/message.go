package message

// Request is the head of a request.
type Request struct {
	Method    string
	Scheme    string // "http" or "https"
	Authority string // Host or :authority, as sent
	Path      string // path and query, as sent (origin form; "*" for OPTIONS *); "" for CONNECT without :protocol
	Protocol  string // of an extended CONNECT (RFC 8441), or of Upgrade in HTTP/1.1 ("websocket"); "" otherwise
	Version   Version
	Fields    Fields // without pseudo-headers, and without those that concern one connection only
}

// Reset forgets everything and keeps the memory.
func (r *Request) Reset() {
	f := r.Fields
	f.Reset()
	*r = Request{Fields: f}
}

// Response is the head of a response.
type Response struct {
	Status int
	Fields Fields // as in Request
}

// Reset forgets everything and keeps the memory.
func (r *Response) Reset() {
	f := r.Fields
	f.Reset()
	*r = Response{Fields: f}
}

// Version is a version of HTTP.
type Version uint8

// The versions of HTTP.
const (
	HTTP10 Version = 10
	HTTP11 Version = 11
	HTTP2  Version = 20
	HTTP3  Version = 30
)

// String gives the name that access logs use.
func (v Version) String() string {
	switch v {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP11:
		return "HTTP/1.1"
	case HTTP2:
		return "HTTP/2"
	case HTTP3:
		return "HTTP/3"
	}
	return "HTTP/?"
}
