package http1

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"strconv"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// AppendRequest writes a head as HTTP/1.1. Fields that concern one connection are made of length and r.Protocol, whatever r.Fields says of them.
// A request that has no form in HTTP/1 is [ErrUnwritable].
//
// An extended CONNECT (RFC 8441) is written as the request to upgrade that it stands for.
func AppendRequest(dst []byte, r *message.Request, length int64) ([]byte, Framing, error) {
	f := Framing{Version: message.HTTP11, Length: length, Chunked: length == message.Unknown, Bodiless: length == message.NoBody}
	method, target := r.Method, r.Path
	if method == "CONNECT" {
		if r.Protocol != "" {
			method = "GET"
		} else {
			target = r.Authority
		}
	}
	if ok, _ := isAuthority(r.Authority); !ok && r.Authority != "" || !isToken(method) || target == "" || !isTarget(bytesOf(target)) ||
		r.Protocol != "" && !isProtocol(r.Protocol) {
		return dst, f, ErrUnwritable
	}
	begin := dst
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\nhost: "...)
	dst = append(dst, r.Authority...)
	dst = append(dst, "\r\n"...)
	dst, te, err := appendFields(dst, &r.Fields, nil)
	if err != nil {
		return begin, f, err
	}
	switch {
	case r.Protocol != "":
		dst = append(dst, "connection: upgrade\r\nupgrade: "...)
		dst = append(dst, r.Protocol...)
		dst = append(dst, "\r\n"...)
		dst = appendWebSocketKey(dst, r)
	case te:
		dst = append(dst, "connection: te\r\nte: trailers\r\n"...)
	}
	switch {
	case r.Method == "CONNECT" || r.Protocol != "":
		f = Framing{Version: message.HTTP11, Bodiless: true}
	case length != message.NoBody || method == "POST" || method == "PUT" || method == "PATCH":
		dst = appendLength(dst, length)
	}
	return append(dst, "\r\n"...), f, nil
}

// appendWebSocketKey gives a WebSocket that was opened over HTTP/2 the key that only HTTP/1.1 has (RFC 8441 section 5.1, RFC 6455 section 4.1).
func appendWebSocketKey(dst []byte, r *message.Request) []byte {
	if _, ok := r.Fields.Get("sec-websocket-key"); ok || r.Method != "CONNECT" || r.Protocol != "websocket" {
		return dst
	}
	var nonce [16]byte
	binary.LittleEndian.PutUint64(nonce[:], rand.Uint64())
	binary.LittleEndian.PutUint64(nonce[8:], rand.Uint64())
	dst = append(dst, "sec-websocket-key: "...)
	dst = base64.StdEncoding.AppendEncode(dst, nonce[:])
	return append(dst, "\r\n"...)
}

func appendLength(dst []byte, length int64) []byte {
	if length == message.Unknown {
		return append(dst, "transfer-encoding: chunked\r\n"...)
	}
	dst = append(dst, "content-length: "...)
	dst = strconv.AppendInt(dst, length, 10)
	return append(dst, "\r\n"...)
}

// AppendResponse writes a head as the response to a request, with close if the connection is closed after it. The framing says how the body is to
// be written, and whether the connection must be closed to end it.
func AppendResponse(dst []byte, r *message.Response, length int64, to Asked, close bool) ([]byte, Framing, error) {
	f := Framing{Version: message.HTTP11, Length: length, Close: close}
	if r.Status < 100 || r.Status > 999 || r.Status == 101 && (to.Protocol == "" || !isProtocol(to.Protocol)) {
		return dst, f, ErrUnwritable
	}
	begin := dst
	dst = appendStatus(dst, r.Status)
	dst, _, err := appendFields(dst, &r.Fields, nil)
	if err != nil {
		return begin, f, err
	}
	switch {
	case r.Status == 101:
		f.Tunnel, f.Length, f.Close = true, message.Unknown, true
		dst = append(dst, "connection: upgrade\r\nupgrade: "...)
		dst = append(dst, to.Protocol...)
		return append(dst, "\r\n\r\n"...), f, nil
	case r.Status < 200:
		f.Bodiless, f.Length = true, message.NoBody
		return append(dst, "\r\n"...), f, nil
	case to.Method == "CONNECT" && r.Status < 300:
		f.Tunnel, f.Length, f.Close = true, message.Unknown, true
		return append(dst, "\r\n"...), f, nil
	case r.Status == 204:
		f.Bodiless, f.Length = true, message.NoBody
	case to.Method == "HEAD" || r.Status == 304:
		f.Bodiless = true
		if length > 0 || length == message.NoBody && to.Method == "HEAD" && r.Status != 304 {
			dst = appendLength(dst, length)
		}
	case length == message.Unknown && to.Version == message.HTTP10:
		f.Close = true // the end of the connection is that of the body
	default:
		f.Bodiless, f.Chunked = length == message.NoBody, length == message.Unknown
		dst = appendLength(dst, length)
	}
	switch {
	case f.Close:
		dst = append(dst, "connection: close\r\n"...)
	case to.Version == message.HTTP10:
		dst = append(dst, "connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...), f, nil
}

// appendFields writes fields but for those that concern one connection and those that may not be there, if may is not nil; te tells whether one of
// them was TE: trailers.
func appendFields(dst []byte, fields *message.Fields, may func(name string) bool) (_ []byte, te bool, err error) {
	for _, f := range fields.All() {
		switch f.Name {
		case "connection", "content-length", "transfer-encoding", "keep-alive", "proxy-connection", "upgrade", "host", "expect", "http2-settings":
			continue
		case "te":
			te = te || isFold(f.Value, "trailers")
			continue
		}
		if may != nil && !may(f.Name) {
			continue
		}
		if !isLowerName(f.Name) || !isValue(bytesOf(f.Value)) {
			return dst, te, ErrUnwritable
		}
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst, te, nil
}

// AppendChunk writes what stands in front of n bytes of data in a chunked body; the data and [ChunkEnd] follow. n is not 0.
func AppendChunk(dst []byte, n int) []byte {
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, "\r\n"...)
}

// ChunkEnd stands behind the data of every chunk.
const ChunkEnd = "\r\n"

// AppendTrailers ends a chunked body. trailers may be nil; fields that may not be trailers are left out.
func AppendTrailers(dst []byte, trailers *message.Fields) ([]byte, error) {
	begin := dst
	dst = append(dst, "0\r\n"...)
	if trailers != nil {
		var err error
		if dst, _, err = appendFields(dst, trailers, mayTrail); err != nil {
			return begin, err
		}
	}
	return append(dst, "\r\n"...), nil
}
