package accesslog

import (
	"fmt"
	"sync"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/proxy/field"
	"github.com/weftmesh/weft/internal/proxy/format"
	"github.com/weftmesh/weft/internal/proxy/message"
)

// Log is the loggers of a listener's connections. The zero value and nil log nothing. It may be used by many goroutines.
type Log struct {
	loggers []logger
	lines   sync.Pool // of *[]byte
}

type logger struct {
	format line
	to     *Writer
	wants  func(*message.Info) bool
}

// Compile makes loggers of an access_log field. Files are opened with open, which is asked with the path; errors name the field.
func Compile(configs []*accesslogv3.AccessLog, open func(path string) (*Writer, error), o format.Options) (*Log, error) {
	l := &Log{}
	for i, c := range configs {
		one, err := compileLogger(c, open, o)
		if err != nil {
			return nil, field.At("access_log", i, err)
		}
		l.loggers = append(l.loggers, one)
	}
	return l, nil
}

// Enabled tells whether anything is logged at all.
func (l *Log) Enabled() bool { return l != nil && len(l.loggers) > 0 }

// Write logs what is known of an exchange or a connection that has ended.
func (l *Log) Write(x *message.Info) {
	if !l.Enabled() {
		return
	}
	line, _ := l.lines.Get().(*[]byte)
	if line == nil {
		line = new([]byte)
	}
	for i := range l.loggers {
		one := &l.loggers[i]
		if one.wants != nil && !one.wants(x) {
			continue
		}
		*line = one.format.append((*line)[:0], x)
		one.to.line(*line)
	}
	l.lines.Put(line)
}

func compileLogger(c *accesslogv3.AccessLog, open func(string) (*Writer, error), o format.Options) (l logger, err error) {
	any := c.GetTypedConfig()
	m, err := any.UnmarshalNew()
	if err != nil {
		return l, field.In("typed_config", err)
	}
	path := ""
	var f *corev3.SubstitutionFormatString
	text, object := "", (*structpb.Struct)(nil)
	switch m := m.(type) {
	case *filev3.FileAccessLog:
		path, f, text, object = m.GetPath(), m.GetLogFormat(), m.GetFormat(), m.GetJsonFormat()
		if object == nil {
			object = m.GetTypedJsonFormat()
		}
	case *streamv3.StdoutAccessLog:
		path, f = "/dev/stdout", m.GetLogFormat()
	case *streamv3.StderrAccessLog:
		path, f = "/dev/stderr", m.GetLogFormat()
	default:
		return l, field.Errorf("typed_config", "this proxy does not know the logger %s", any.GetTypeUrl())
	}
	switch k := f.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_JsonFormat:
		object = k.JsonFormat
	case *corev3.SubstitutionFormatString_TextFormat:
		text = k.TextFormat
	case *corev3.SubstitutionFormatString_TextFormatSource:
		if text = k.TextFormatSource.GetInlineString(); text == "" {
			text = string(k.TextFormatSource.GetInlineBytes())
		}
	}
	if text == "" {
		text = defaultText
	}
	if object != nil {
		l.format, err = newJSON(object, f.GetOmitEmptyValues(), o)
	} else {
		l.format, err = newText(text, o)
	}
	if err != nil {
		return l, field.In("log_format", err)
	}
	if l.wants, err = compileFilter(c.GetFilter()); err != nil {
		return l, field.In("filter", err)
	}
	if l.to, err = open(path); err != nil {
		return l, field.In("path", err)
	}
	return l, nil
}

// compileFilter makes the condition under which something is logged; nil is always.
func compileFilter(f *accesslogv3.AccessLogFilter) (func(*message.Info) bool, error) {
	switch k := f.GetFilterSpecifier().(type) {
	case nil:
		return nil, nil
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return nil, nil
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		holds := comparison(k.StatusCodeFilter.GetComparison())
		return func(i *message.Info) bool {
			status := 0
			if i.Response != nil {
				status = i.Response.Status
			}
			return holds(uint64(status))
		}, nil
	case *accesslogv3.AccessLogFilter_DurationFilter:
		holds := comparison(k.DurationFilter.GetComparison())
		return func(i *message.Info) bool { return holds(uint64(i.Duration / time.Millisecond)) }, nil
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		wanted := map[string]bool{}
		for _, name := range k.ResponseFlagFilter.GetFlags() {
			wanted[name] = true
		}
		return func(i *message.Info) bool {
			if len(wanted) == 0 {
				return i.Flags != 0
			}
			for b := message.Flags(1); b != 0 && b <= i.Flags; b <<= 1 {
				if i.Flags&b != 0 && wanted[b.String()] {
					return true
				}
			}
			return false
		}, nil
	}
	return nil, fmt.Errorf("this proxy does not know %T", f.GetFilterSpecifier())
}

func comparison(c *accesslogv3.ComparisonFilter) func(uint64) bool {
	limit := uint64(c.GetValue().GetDefaultValue())
	switch c.GetOp() {
	case accesslogv3.ComparisonFilter_GE:
		return func(v uint64) bool { return v >= limit }
	case accesslogv3.ComparisonFilter_LE:
		return func(v uint64) bool { return v <= limit }
	case accesslogv3.ComparisonFilter_NE:
		return func(v uint64) bool { return v != limit }
	}
	return func(v uint64) bool { return v == limit }
}
