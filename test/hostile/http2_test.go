package hostile

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw2 is a client of HTTP/2 that sends what it is told to, frame by frame.
type raw2 struct {
	t    *testing.T
	conn net.Conn
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	next  uint32
	// silent: pings and settings of the proxy's are not answered.
	silent bool
	write  sync.Mutex
}

// http2 opens a connection with prior knowledge, and says the least that is to be said.
func (e *edge) http2(t *testing.T, name string, settings ...http2.Setting) *raw2 {
	t.Helper()
	return newRaw2(t, e.dial(t, name), settings...)
}

func newRaw2(t *testing.T, conn net.Conn, settings ...http2.Setting) *raw2 {
	t.Helper()
	r := &raw2{t: t, conn: conn, Framer: http2.NewFramer(conn, conn), next: 1}
	r.AllowIllegalWrites = true
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.enc = hpack.NewEncoder(&r.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return r
}

// get is the fields of a request, and more.
func get(path string, more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "h", ":path", path}, more...)
}

func post(path string, more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":authority", "h", ":path", path}, more...)
}

func (r *raw2) encode(fields []string) []byte {
	r.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = r.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return r.block.Bytes()
}

// open begins a stream, and gives its number. Errors show when answers are read.
func (r *raw2) open(end bool, fields []string) uint32 {
	r.write.Lock()
	defer r.write.Unlock()
	id := r.next
	r.next += 2
	_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: r.encode(fields), EndStream: end, EndHeaders: true})
	return id
}

// await reads frames until one ends the stream, and gives its status, or how it was reset; "GOAWAY CODE" is the end of the connection.
func (r *raw2) await(id uint32) string {
	status := ""
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return fmt.Sprintf("%s %v", status, err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && !r.silent {
				r.write.Lock()
				_ = r.WriteSettingsAck()
				r.write.Unlock()
			}
		case *http2.PingFrame:
			if !f.IsAck() && !r.silent {
				r.write.Lock()
				_ = r.WritePing(true, f.Data)
				r.write.Unlock()
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return "GOAWAY " + f.ErrCode.String()
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				if status != "" && f.ErrCode == http2.ErrCodeNo {
					return status
				}
				return "RST_STREAM " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if s := f.PseudoValue("status"); s != "" && s[0] != '1' {
				status = s
			}
			if f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			r.write.Lock()
			if n := uint32(f.Length); n > 0 && !r.silent {
				_ = r.WriteWindowUpdate(0, n)
				if !f.StreamEnded() {
					_ = r.WriteWindowUpdate(f.StreamID, n)
				}
			}
			r.write.Unlock()
			if f.StreamID == id && f.StreamEnded() {
				return status
			}
		}
	}
}

// settle acknowledges the proxy's settings, without which some of what follows would be judged otherwise.
func (r *raw2) settle() {
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.t.Error(err)
			return
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			_ = r.WriteSettingsAck()
			return
		}
	}
}

// closed reads until the connection ends, and gives the code of GOAWAY, if there was one.
func (r *raw2) closed() string {
	code := ""
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return code
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			code = g.ErrCode.String()
		}
	}
}

// httpHeaders is trailers.
func httpHeaders(id uint32, block []byte) http2.HeadersFrameParam {
	return http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}
}
