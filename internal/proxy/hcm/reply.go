package hcm

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/weftmesh/weft/internal/proxy/message"
)

// local answers with a reply of our own. What was put into x.resp.Fields before stays.
func (x *exchange) local(status int, details, text string, flags message.Flags) {
	x.info.Flags |= flags
	x.info.Details = details
	x.resp.Status = status
	x.reply.Response, x.reply.Body = &x.resp, nil
	if text != "" {
		x.reply.Body = append(x.page[:0], text...)
		x.page = x.reply.Body
		x.resp.Fields.Set("content-type", "text/plain")
	}
	if x.grpc {
		x.grpcReply(text)
	}
	x.answer()
}

// answerCall sends x.reply, in gRPC's words if it answers a call and is not in those already.
func (x *exchange) answerCall() {
	if _, ok := x.resp.Fields.Get("grpc-status"); x.grpc && !ok {
		x.grpcReply(string(x.reply.Body))
	}
	x.answer()
}

// grpcReply turns a reply into what gRPC's clients understand: 200, and the status in the head.
func (x *exchange) grpcReply(text string) {
	code := grpcCode(x.resp.Status)
	x.resp.Status = http.StatusOK
	x.status = code
	f := &x.resp.Fields
	f.Set("content-type", "application/grpc")
	var room [256]byte
	f.Set("grpc-status", f.Copy(strconv.AppendInt(room[:0], int64(code), 10)))
	if text != "" {
		f.Set("grpc-message", f.Copy(percent(room[:0], text)))
	}
	x.reply.Body = nil
}

// grpcCode is the status of gRPC for one of HTTP (gRPC's http-grpc-status-mapping).
func grpcCode(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

// httpStatus is the reverse, for outlier detection: what a response would have been if it were plain HTTP.
func httpStatus(grpc int) int {
	switch grpc {
	case 0:
		return 200
	case 4:
		return 504
	case 8, 14:
		return 503
	case 2, 13, 15:
		return 500
	case 16:
		return 401
	case 7:
		return 403
	case 12:
		return 501
	}
	return 400
}

// percent encodes a grpc-message.
func percent(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// answer sends x.reply: what a filter, a route or we ourselves answer in the endpoint's place.
func (x *exchange) answer() {
	r := x.reply.Response
	if x.reply.Details != "" {
		x.info.Details = x.reply.Details
	}
	if x.grpc && x.status < 0 {
		x.status = grpcStatus(&r.Fields)
	}
	x.info.Response = r
	body := x.reply.Body
	x.finishHead(r)
	if err := x.sendHead(r, int64(len(body))); err != nil {
		x.gone()
		return
	}
	if len(body) > 0 && x.info.Request.Method != "HEAD" {
		if _, err := x.stream.Write(body); err != nil {
			x.gone()
			return
		}
		x.info.BytesSent = int64(len(body))
	}
	if err := x.stream.Finish(nil); err != nil {
		x.gone()
		return
	}
	x.ended = true
}

// finishHead adds what every response has, whoever made it, and shows it to the filters.
func (x *exchange) finishHead(r *message.Response) {
	x.m.chain.Response(x, x.settings, r)
	x.answerClaim(r)
	f := &r.Fields
	if _, ok := f.Get("date"); !ok {
		f.Add("date", x.m.pool.date(x.info.Start))
	}
	switch x.m.server {
	case hcmv3.HttpConnectionManager_OVERWRITE:
		f.Set("server", x.m.serverName)
	case hcmv3.HttpConnectionManager_APPEND_IF_ABSENT:
		if _, ok := f.Get("server"); !ok {
			f.Add("server", x.m.serverName)
		}
	}
	if x.m.via != "" {
		f.Add("via", x.m.via)
	}
	if x.m.edge.echoID {
		if id, ok := x.info.Request.Fields.Get("x-request-id"); ok {
			f.Set("x-request-id", id)
		}
	}
}

// sendHead begins the response.
func (x *exchange) sendHead(r *message.Response, length int64) error {
	x.info.Response = r
	if x.info.ResponseDuration == 0 {
		x.info.ResponseDuration = time.Since(x.info.Start)
	}
	x.began = true
	if x.c.leaving.Load() {
		x.c.server.Drain() // the head says that the connection ends
	}
	return x.stream.WriteHead(r, length)
}

// gone notes that the client is not there any more.
func (x *exchange) gone() {
	x.info.Flags |= message.DownstreamTermination
	if !x.began || x.info.Details == "" || x.info.Details == "via_upstream" {
		x.info.Details = "downstream_remote_disconnect"
	}
	x.stream.Abort(message.Cancelled)
	x.ended = true
}

// dates is the field date, made once a second.
type dates struct{ last atomic.Pointer[date] }

type date struct {
	second int64
	text   string
}

// date gives a time as the field date has it. It may be a moment old.
func (d *dates) date(now time.Time) string {
	if last := d.last.Load(); last != nil && last.second == now.Unix() {
		return last.text
	}
	next := &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
	d.last.Store(next)
	return next.text
}
